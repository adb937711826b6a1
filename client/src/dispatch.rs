//! Calls as values, for bindings in other languages, which prepare a call on one thread and make it on another.
//!
//! Hidden from the documentation: see the methods of [`Client`] instead.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use gometa_proto::{
    Arguments,
    v1::{request::Operation as Body, response},
};
use tokio::sync::Mutex;

use crate::{
    client::{Client, deleted, written},
    error::{Error, Operation, Result},
    membership::{MembersChanged, MembersVersion, Membership, StopAdvice},
    range::{Page, Pages, Range},
    transaction::{Transaction, TxnAttempts},
    txn::{Transacted, Txn},
    types::{Deleted, Entry, NodeStatus, ReadOptions, Setting, View, Written},
    versions::{HistoryOptions, KeyHistory},
};

/// A call and its arguments, for [`Client::perform`].
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// The write of this name, for instance [`Client::set`].
    Write(Write),
    /// [`Client::get_with`].
    Get {
        /// The key.
        key: Bytes,
        /// The options.
        options: ReadOptions,
    },
    /// [`Client::get_at`].
    GetAt {
        /// The key.
        key: Bytes,
        /// The revision.
        revision: u64,
    },
    /// [`Client::range`].
    Range(Box<Range>),
    /// The next page of a scan.
    NextPage(SharedPages),
    /// [`Client::count`].
    Count(Box<Range>),
    /// [`Client::history_with`].
    History {
        /// The key.
        key: Bytes,
        /// The options.
        options: HistoryOptions,
    },
    /// [`Client::delete_prefix`].
    DeletePrefix {
        /// The prefix.
        prefix: Bytes,
    },
    /// [`Client::commit`].
    Commit(Box<Txn>),
    /// A read of a transaction, see [`Client::transaction`].
    Read {
        /// The transaction.
        transaction: SharedTransaction,
        /// The key.
        key: Bytes,
    },
    /// A read of a range of a transaction.
    ReadRange {
        /// The transaction.
        transaction: SharedTransaction,
        /// The range.
        range: Box<Range>,
    },
    /// The end of an attempt of a transaction, with the error of its function if that has failed.
    EndAttempt(SharedTransaction, Option<Error>),
    /// [`Client::settings`].
    Settings,
    /// [`Client::set_setting`].
    SetSetting {
        /// The name.
        name: String,
        /// The value; `None` for the default.
        value: Option<u64>,
    },
    /// [`Client::status`], [`Client::status_of`].
    Status {
        /// The node's address for clients, `host:port`; `None` for the node in use.
        address: Option<String>,
    },
    /// [`Client::view`].
    Members,
    /// [`Client::membership`].
    Membership,
    /// A change of one member.
    ChangeMember {
        /// The change.
        change: MemberChange,
        /// The member's id.
        node: u64,
        /// The version of the members that it is to follow.
        follows: Option<MembersVersion>,
    },
    /// [`Client::transfer_leadership`].
    TransferLeadership {
        /// The voter that is to lead; `None` for any but the present leader.
        to: Option<u64>,
    },
    /// [`Client::finalize_upgrade`].
    FinalizeUpgrade {
        /// The feature level.
        level: u32,
    },
    /// [`Client::safe_to_stop`].
    SafeToStop {
        /// The members' ids.
        nodes: Vec<u64>,
    },
}

/// The pages of a scan, which one call after the other reads.
#[derive(Clone, Debug)]
pub struct SharedPages(Arc<Mutex<Pages>>);

impl SharedPages {
    /// The pages of a range.
    #[must_use]
    pub fn new(range: Range) -> SharedPages {
        SharedPages(Arc::new(Mutex::new(Pages::new(range))))
    }
}

impl PartialEq for SharedPages {
    fn eq(&self, other: &SharedPages) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The attempts of a transaction, and the present one.
#[derive(Clone, Debug)]
pub struct SharedTransaction(Arc<(TxnAttempts, std::sync::Mutex<Transaction>)>);

impl SharedTransaction {
    /// A transaction of a client, until its timeout.
    #[must_use]
    pub fn new(client: &Client) -> SharedTransaction {
        let attempts = TxnAttempts::new(client);
        let first = attempts.begin();
        SharedTransaction(Arc::new((attempts, std::sync::Mutex::new(first))))
    }

    /// The present attempt.
    #[must_use]
    pub fn present(&self) -> Transaction {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the present attempt; returns whether the transaction is over. If not, another attempt has begun.
    async fn end(&self, error: Option<Error>) -> Result<bool> {
        let (attempts, present) = &*self.0;
        let ended = self.present();
        match error {
            None if attempts.commit(&ended).await? => return Ok(true),
            None => {}
            Some(error) => attempts.failed(&ended, error).await?,
        }
        *present.lock().unwrap_or_else(PoisonError::into_inner) = attempts.begin();
        Ok(false)
    }
}

impl PartialEq for SharedTransaction {
    fn eq(&self, other: &SharedTransaction) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A change of one member, for [`Request::ChangeMember`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberChange {
    /// [`Client::promote_member`].
    Promote,
    /// [`Client::remove_member`].
    Remove,
    /// [`Client::replace_member`], by this learner.
    ReplaceBy(u64),
    /// [`Client::cancel_promotion`].
    CancelPromotion,
}

/// A write, made by [`Request::write`].
#[derive(Clone, PartialEq, Debug)]
pub struct Write(Body);

/// The result of a [`Request`].
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// The result of most writes.
    Written(Written),
    /// The result of delete.
    Deleted(Deleted),
    /// The result of get.
    Entry(Entry),
    /// The result of range, and of a range that a transaction has read.
    Page(Box<Page>),
    /// The result of next page: none after the last one.
    NextPage(Option<Box<Page>>),
    /// The result of history.
    History(Box<KeyHistory>),
    /// The result of count and delete prefix.
    Count(u64),
    /// The result of commit.
    Transacted(Box<Transacted>),
    /// The value that a transaction has read.
    Value(Option<Bytes>),
    /// The end of an attempt: whether the transaction is over.
    Over(bool),
    /// The result of settings.
    Settings(Vec<Setting>),
    /// The result of set setting: its revision.
    Revision(u64),
    /// The result of status.
    Status(Box<NodeStatus>),
    /// The result of members.
    Members(Box<View>),
    /// The result of membership.
    Membership(Box<Membership>),
    /// The result of a change of one member.
    MembersChanged(Box<MembersChanged>),
    /// The result of transfer leadership: the node that leads now.
    Leader(u64),
    /// The result of safe to stop.
    StopAdvice(Box<StopAdvice>),
}

impl Request {
    /// Creates a write.
    ///
    /// # Panics
    /// If the operation is not a write.
    #[must_use]
    pub fn write(operation: Operation, arguments: Arguments) -> Request {
        let body = Body::new(operation, arguments).filter(Body::is_write);
        Request::Write(Write(body.unwrap_or_else(|| panic!("{operation} is not a write"))))
    }

    /// The operation.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Request::Write(Write(body)) => body.kind(),
            Request::Get { .. } | Request::GetAt { .. } => Operation::Get,
            Request::Range(_) | Request::NextPage(_) | Request::Count(_) => Operation::Range,
            Request::History { .. } => Operation::GetHistory,
            Request::DeletePrefix { .. } => Operation::Delete,
            Request::Commit(_)
            | Request::Read { .. }
            | Request::ReadRange { .. }
            | Request::EndAttempt(..) => Operation::Txn,
            Request::Settings => Operation::ListSettings,
            Request::SetSetting { .. } => Operation::SetSetting,
            Request::Status { .. } => Operation::Status,
            Request::Members => Operation::Members,
            Request::Membership => Operation::ListMembers,
            Request::ChangeMember { change: MemberChange::Promote, .. } => Operation::PromoteMember,
            Request::ChangeMember { change: MemberChange::Remove, .. } => Operation::RemoveMember,
            Request::ChangeMember { change: MemberChange::ReplaceBy(_), .. } => Operation::ReplaceMember,
            Request::ChangeMember { change: MemberChange::CancelPromotion, .. } => Operation::CancelPromotion,
            Request::TransferLeadership { .. } => Operation::TransferLeadership,
            Request::FinalizeUpgrade { .. } => Operation::FinalizeUpgrade,
            Request::SafeToStop { .. } => Operation::SafeToStop,
        }
    }

    /// Whether it may change something. A commit that writes in neither branch, and a read of a transaction, do not.
    #[must_use]
    pub fn has_effect(&self) -> bool {
        match self {
            Request::Commit(txn) => txn.writes(),
            Request::Read { .. } | Request::ReadRange { .. } => false,
            _ => self.operation().has_effect(),
        }
    }

    /// The key, if the operation has one.
    #[must_use]
    pub fn key(&self) -> Option<&Bytes> {
        match self {
            Request::Write(Write(body)) => body.key(),
            Request::Get { key, .. } | Request::GetAt { key, .. } | Request::History { key, .. } => Some(key),
            Request::Range(_)
            | Request::NextPage(_)
            | Request::Count(_)
            | Request::DeletePrefix { .. }
            | Request::Commit(_)
            | Request::Read { .. }
            | Request::ReadRange { .. }
            | Request::EndAttempt(..)
            | Request::Settings
            | Request::SetSetting { .. }
            | Request::Status { .. }
            | Request::Members
            | Request::Membership
            | Request::ChangeMember { .. }
            | Request::TransferLeadership { .. }
            | Request::FinalizeUpgrade { .. }
            | Request::SafeToStop { .. } => None,
        }
    }
}

impl Client {
    /// Makes a call and passes its result on. If the caller has given up meanwhile, `deliver` returns the result; a page of
    /// a scan is then the result of the scan's next call.
    pub async fn deliver(
        self,
        request: Request,
        deliver: impl FnOnce(Result<Reply>) -> Option<Result<Reply>>,
    ) {
        let Request::NextPage(SharedPages(pages)) = request else {
            let result = self.perform(request).await;
            // The client is not in use any more when the result is delivered.
            drop(self);
            drop(deliver(result));
            return;
        };
        // Locked until it is known whether the page was taken.
        let mut pages = pages.lock().await;
        let page = pages.next(&self).await.transpose();
        drop(self);
        match deliver(page.map(|page| Reply::NextPage(page.map(Box::new)))) {
            Some(Ok(Reply::NextPage(Some(page)))) => pages.put_back(Ok(*page)),
            Some(Err(error)) => pages.put_back(Err(error)),
            _ => {}
        }
    }

    /// Makes a call. Keys and values are not copied.
    ///
    /// # Errors
    /// Those of the method that the request names.
    pub async fn perform(&self, request: Request) -> Result<Reply> {
        Ok(match request {
            Request::Write(Write(body)) => self.call(body, reply).await?,
            Request::Get { key, options } => Reply::Entry(self.get_owned(key, options).await?),
            Request::GetAt { key, revision } => Reply::Entry(self.get_at(key, revision).await?),
            Request::Range(range) => Reply::Page(Box::new(self.range(*range).await?)),
            Request::NextPage(SharedPages(pages)) => {
                let page = pages.lock().await.next(self).await.transpose()?;
                Reply::NextPage(page.map(Box::new))
            }
            Request::Count(range) => Reply::Count(self.count(*range).await?),
            Request::History { key, options } => {
                Reply::History(Box::new(self.history_owned(key, options).await?))
            }
            Request::DeletePrefix { prefix } => Reply::Count(self.delete_prefix(prefix).await?),
            Request::Commit(txn) => Reply::Transacted(Box::new(self.commit(*txn).await?)),
            Request::Read { transaction, key } => Reply::Value(transaction.present().get(key).await?),
            Request::ReadRange { transaction, range } => {
                Reply::Page(Box::new(transaction.present().range(*range).await?))
            }
            Request::EndAttempt(transaction, error) => Reply::Over(transaction.end(error).await?),
            Request::Settings => Reply::Settings(self.settings().await?),
            Request::SetSetting { name, value } => Reply::Revision(self.set_setting(&name, value).await?),
            Request::Status { address: None } => Reply::Status(Box::new(self.status().await?)),
            Request::Status { address: Some(address) } => {
                Reply::Status(Box::new(self.status_of(&address).await?))
            }
            Request::Members => Reply::Members(Box::new(self.view().await?)),
            Request::Membership => Reply::Membership(Box::new(self.membership().await?)),
            Request::ChangeMember { change, node, follows } => {
                let changed = match change {
                    MemberChange::Promote => self.promote_member(node, follows).await?,
                    MemberChange::Remove => self.remove_member(node, follows).await?,
                    MemberChange::ReplaceBy(replacement) => {
                        self.replace_member(node, replacement, follows).await?
                    }
                    MemberChange::CancelPromotion => self.cancel_promotion(node, follows).await?,
                };
                Reply::MembersChanged(Box::new(changed))
            }
            Request::TransferLeadership { to } => Reply::Leader(self.transfer_leadership(to).await?),
            Request::FinalizeUpgrade { level } => {
                Reply::MembersChanged(Box::new(self.finalize_upgrade(level).await?))
            }
            Request::SafeToStop { nodes } => Reply::StopAdvice(Box::new(self.safe_to_stop(nodes).await?)),
        })
    }
}

fn reply(result: response::Result) -> Option<Reply> {
    match result {
        response::Result::Deleted(_) => deleted(result).map(Reply::Deleted),
        result => written(result).map(Reply::Written),
    }
}
