//! etcd over gRPC, with tonic: the few messages of its API that the load needs.

use std::{ops::Range, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::data::{PAGE_KEYS, Values, key_name};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The keys that one transaction creates; etcd allows 128 operations.
const PRELOAD_KEYS: usize = 100;

const PUT: PathAndQuery = PathAndQuery::from_static("/etcdserverpb.KV/Put");
const RANGE: PathAndQuery = PathAndQuery::from_static("/etcdserverpb.KV/Range");
const TXN: PathAndQuery = PathAndQuery::from_static("/etcdserverpb.KV/Txn");
const STATUS: PathAndQuery = PathAndQuery::from_static("/etcdserverpb.Maintenance/Status");

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    /// Empty for one key.
    #[prost(bytes = "bytes", tag = "2")]
    range_end: Bytes,
    #[prost(int64, tag = "3")]
    limit: i64,
    #[prost(bool, tag = "7")]
    serializable: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Compare {
    #[prost(int32, tag = "1")]
    result: i32,
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    key: Bytes,
    #[prost(int64, tag = "6")]
    mod_revision: i64,
}

/// The key's revision is greater than that of the comparison.
const GREATER: i32 = 1;
const MOD_REVISION: i32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
struct RequestOp {
    /// The alternative `request_put`.
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TxnResponse {
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

/// A response of which nothing is needed.
#[derive(Clone, PartialEq, prost::Message)]
struct Ignored {}

pub(crate) struct Client(Channel);

impl Client {
    /// Connects to one node, with one TCP connection.
    pub(super) async fn connect(address: &str) -> Result<Client> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
        Ok(Client(endpoint.connect().await?))
    }

    pub(super) async fn set(&self, key: u32, value: Bytes) -> Result<()> {
        let Ignored {} = self.call(PUT, PutRequest { key: key_name(key).into(), value }).await?;
        Ok(())
    }

    /// Returns the length of the value.
    pub(super) async fn get(&self, key: u32, local: bool) -> Result<usize> {
        let request =
            RangeRequest { key: key_name(key).into(), serializable: local, ..RangeRequest::default() };
        let found: RangeResponse = self.call(RANGE, request).await?;
        Ok(found.kvs.first().context("no such key")?.value.len())
    }

    pub(super) async fn page(&self, key: u32) -> Result<usize> {
        // Behind all keys: a slash comes before 0.
        let range_end = Bytes::from_static(b"bench0");
        let key = key_name(key).into();
        let request = RangeRequest { key, range_end, limit: PAGE_KEYS.into(), serializable: false };
        let found: RangeResponse = self.call(RANGE, request).await?;
        Ok(found.kvs.len())
    }

    pub(super) async fn set_both(&self, keys: [u32; 2], value: Bytes) -> Result<()> {
        let exists = |key: u32| Compare {
            result: GREATER,
            target: MOD_REVISION,
            key: key_name(key).into(),
            mod_revision: 0,
        };
        let put = |key: u32| PutRequest { key: key_name(key).into(), value: value.clone() };
        let request = TxnRequest {
            compare: keys.map(exists).to_vec(),
            success: keys.map(|key| RequestOp { put: Some(put(key)) }).to_vec(),
        };
        let response: TxnResponse = self.call(TXN, request).await?;
        ensure!(response.succeeded, "a key does not exist");
        Ok(())
    }

    pub(super) async fn create(&self, keys: Range<u32>, values: &Arc<Values>) -> Result<()> {
        let keys: Vec<u32> = keys.collect();
        for keys in keys.chunks(PRELOAD_KEYS) {
            let put = |key: &u32| PutRequest { key: key_name(*key).into(), value: values.at((*key).into()) };
            let success = keys.iter().map(|key| RequestOp { put: Some(put(key)) }).collect();
            let response: TxnResponse = self.call(TXN, TxnRequest { compare: Vec::new(), success }).await?;
            ensure!(response.succeeded, "a transaction without a condition failed");
        }
        Ok(())
    }

    async fn call<Q, A>(&self, path: PathAndQuery, request: Q) -> Result<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.0.clone());
        grpc.ready().await?;
        Ok(grpc.unary(Request::new(request), path, ProstCodec::default()).await?.into_inner())
    }
}

/// Whether the node leads.
pub(super) async fn leads(address: &str) -> Result<bool> {
    let status: StatusResponse = Client::connect(address).await?.call(STATUS, Ignored {}).await?;
    let header = status.header.context("a status without a header")?;
    Ok(status.leader != 0 && status.leader == header.member_id)
}
