//! What clients, and other members, send to a whole node.

use arbitrary::Unstructured;
use bytes::{Bytes, BytesMut};
use gometa_node::{ClientId, Event};
use gometa_proto::{
    check, frame,
    limits::{CLIENT_ELEMENTS_MAX, CLIENT_FRAME_MAX},
    v1::{self, ClientFrame, NodeMessage, ServerFrame, client_frame::Body, node_message, server_frame},
};
use gometa_testkit::{
    ensemble::Ensemble as _,
    nodes::{Nodes, get},
};
use gometa_zab::Message;
use prost::Message as _;

/// Clients that take turns.
const CLIENTS: u64 = 3;
/// Longer than any deadline that a request can name, in milliseconds.
const LONG_MS: u64 = 2 * u32::MAX as u64;

/// What clients send to an ensemble of one node with a prompt disk. The bytes are pieces behind their lengths (one
/// byte, and one that says who sends it and what happens after it); a piece is a frame, or belongs to a stream of
/// frames.
///
/// Nothing panics; every request has exactly one answer at the end, however it was numbered, unless its client has
/// cancelled it or gone; every answer fits a frame and can be read.
pub fn client_frame(data: &[u8]) {
    let mut ensemble = Nodes::new(1);
    ensemble.run(100);
    ensemble.members[0].storage.cool(3);
    let mut asked: Vec<(u64, u64)> = Vec::new();
    let mut streams: [BytesMut; CLIENTS as usize] = Default::default();
    let mut next = 0;
    let mut u = Unstructured::new(data);
    while !u.is_empty() {
        let (Ok(length), Ok(how)) = (u.arbitrary::<u8>(), u.arbitrary::<u8>()) else { break };
        let length = usize::from(length).min(u.len());
        let Ok(piece) = u.bytes(length) else { break };
        let client = u64::from(how) % CLIENTS;
        let mut frames = Vec::new();
        if how & 0x80 == 0 {
            frames.push(check::decode::<ClientFrame>(Bytes::copy_from_slice(piece), CLIENT_ELEMENTS_MAX));
        } else {
            let stream = &mut streams[how as usize % CLIENTS as usize];
            stream.extend_from_slice(piece);
            while let Ok(Some(bytes)) = frame::decode_frame(stream, CLIENT_FRAME_MAX) {
                frames.push(check::decode(bytes, CLIENT_ELEMENTS_MAX));
            }
        }
        for frame in frames.into_iter().flatten() {
            match frame.body {
                Some(Body::Request(mut request)) => {
                    // The server refuses doubled numbers; here they are all different.
                    next += 1;
                    request.id = next;
                    asked.push((client, next));
                    ensemble.tell(0, Event::Request { client: ClientId(client), request });
                }
                Some(Body::Cancel(cancel)) => {
                    let id = next.saturating_sub(cancel.id % 4);
                    asked.retain(|known| *known != (client, id));
                    ensemble.tell(0, Event::Cancel { client: ClientId(client), id });
                }
                Some(Body::Ping(ping)) if ping.session != 0 => {
                    ensemble.tell(0, Event::Contact { session: ping.session });
                }
                Some(Body::Hello(_) | Body::Ping(_) | Body::Pong(_)) | None => {}
            }
        }
        match (how >> 2) & 0x0f {
            0..=7 => {}
            8..=11 => ensemble.step(0),
            12 | 13 => ensemble.run(5),
            14 => ensemble.run(50),
            _ => {
                asked.retain(|(known, _)| *known != client);
                ensemble.tell(0, Event::ClientGone { client: ClientId(client) });
            }
        }
        if how & 0x40 != 0 {
            ensemble.tell(0, Event::Sent { client: ClientId(client) });
        }
    }
    ensemble.run(20);
    ensemble.skip(LONG_MS);
    ensemble.run(10);
    for client in 0..CLIENTS {
        ensemble.tell(0, Event::Sent { client: ClientId(client) });
    }
    ensemble.run(10);
    assert_eq!(ensemble.members[0].stopped, None);
    for request in &asked {
        assert!(ensemble.answered.contains(request), "{request:?} has no answer");
    }
    for response in std::mem::take(&mut ensemble.answers).into_values() {
        let encoded = ServerFrame { body: Some(server_frame::Body::Response(response)) };
        let mut buffer = BytesMut::new();
        frame::encode(&encoded, CLIENT_FRAME_MAX, &mut buffer).expect("answers fit a frame");
        let bytes =
            frame::decode_frame(&mut buffer, CLIENT_FRAME_MAX).expect("within the limit").expect("whole");
        assert_eq!(check::decode::<ServerFrame>(bytes, CLIENT_ELEMENTS_MAX), Ok(encoded));
    }
}

/// What members' `Node`s send each other, in an ensemble of three with prompt disks. The bytes are pieces
/// behind three others: one has sender, receiver and what happens next, one the kind, one how much of
/// it there is.
///
/// Nothing panics and every step ends; no entry is logged that the codec would refuse (the harness looks); in the end
/// all nodes serve.
pub fn relay(data: &[u8]) {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let mut u = Unstructured::new(data);
    while !u.is_empty() {
        let Ok([how, what, much]) = u.arbitrary::<[u8; 3]>() else { break };
        let (from, to) = (usize::from(how & 3) % 3, usize::from(how >> 2 & 3) % 3);
        let count = 1u64 << (much & 0x0f).min(12);
        let mut number =
            || u.arbitrary::<u16>().map_or(0, |number| u64::MAX.wrapping_shl(u32::from(number) % 65) ^ 7);
        let mut bodies: Vec<Bytes> = Vec::new();
        let mut push = |body| bodies.push(NodeMessage { body: Some(body) }.encode_to_vec().into());
        match what % 7 {
            0 => {
                let size = (usize::from(much >> 4) << 17) + usize::from(what);
                let commands =
                    vec![Bytes::from(vec![what; size]); (count as usize).min((8 << 20) / (size + 4))];
                push(node_message::Body::Forward(v1::Forward {
                    id: number(),
                    commands,
                    level: number() as u32 % 4,
                }));
            }
            1 => {
                let end = v1::EndSessions { sessions: (0..count).collect() };
                let command = v1::Command { body: Some(v1::command::Body::EndSessions(end)) };
                let commands = vec![command.encode_to_vec().into()];
                push(node_message::Body::Forward(v1::Forward {
                    id: number(),
                    commands,
                    level: number() as u32 % 4,
                }));
            }
            2 => {
                (0..count).for_each(|id| push(node_message::Body::BarrierRequest(v1::BarrierRequest { id })))
            }
            3 => {
                let reply =
                    v1::BarrierReply { id: number() % 64, passed: what & 0x80 != 0, commit: number() };
                push(node_message::Body::BarrierReply(reply));
            }
            4 => {
                let rejected = (0..count as u32).collect();
                let kind = u32::from(what >> 3);
                push(node_message::Body::ForwardRejected(v1::ForwardRejected {
                    id: number() % 64,
                    rejected,
                    kind,
                    ..Default::default()
                }));
            }
            5 => push(node_message::Body::Contacts(v1::Contacts { sessions: (0..count).collect() })),
            _ => {
                let length = usize::from(much).min(u.len());
                bodies.extend(u.bytes(length).ok().map(Bytes::copy_from_slice));
            }
        }
        if let Some(link) = ensemble.link(to, from) {
            for body in bodies {
                let message = Message::Relay(body);
                ensemble.tell(to, Event::Zab(gometa_zab::Event::Message { link, message }));
            }
        }
        if how & 0x80 != 0 {
            ensemble.ask(to, None, get("k"));
        }
        match how >> 4 & 7 {
            0..=3 => ensemble.step(to),
            4 => ensemble.isolate(to, !ensemble.is_isolated(to)),
            5 => ensemble.run(5),
            6 => ensemble.run(100),
            _ => {}
        }
    }
    for node in 0..3 {
        ensemble.isolate(node, false);
    }
    ensemble.run(8_000);
    for node in 0..3 {
        assert_eq!(ensemble.members[node].stopped, None);
        let read = ensemble.call(node, None, get("k"));
        assert!(read.is_some(), "node {node} does not serve");
    }
}
