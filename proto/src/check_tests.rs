//! Tests of the walk: compared with decoding and counting, and on hostile bytes.

use proptest::prelude::*;

use super::*;
use crate::{
    limits::{CLIENT_ELEMENTS_MAX, CLIENT_FIELDS_MAX, PEER_ELEMENTS_MAX, TXN_OPERATIONS_MAX},
    v1,
};

fn frame(body: v1::peer_frame::Body) -> v1::PeerFrame {
    v1::PeerFrame { body: Some(body) }
}

/// The number of elements that the walk finds.
fn found<M: Shaped>(bytes: &[u8]) -> usize {
    let mut elements = 0;
    count(bytes, M::SHAPE, Unit::Elements, &mut elements, usize::MAX).expect("a message");
    elements
}

/// The same by decoding, for messages between nodes.
fn naive(frame: &v1::PeerFrame) -> usize {
    use v1::peer_frame::Body;
    let voters = |genesis: &Option<v1::Genesis>| genesis.as_ref().map_or(0, |genesis| genesis.voters.len());
    match &frame.body {
        Some(Body::Hello(hello)) => hello.voters.len(),
        Some(Body::Prepare(prepare)) => voters(&prepare.genesis),
        Some(Body::Formed(formed)) => voters(&formed.genesis),
        Some(Body::AckEpoch(ack)) => ack.boundaries.len(),
        Some(Body::Propose(propose)) => propose.entries.len(),
        _ => 0,
    }
}

fn node_messages() -> impl Strategy<Value = v1::PeerFrame> {
    use v1::peer_frame::Body;
    let zxid = (any::<u64>(), any::<u64>()).prop_map(|(epoch, counter)| v1::Zxid { epoch, counter });
    let entry = (prop::option::of(zxid.clone()), any::<u32>(), prop::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(zxid, kind, payload)| v1::LogEntry { zxid, kind, level: 1, payload: payload.into() });
    let voter = any::<u64>().prop_map(|node| v1::Voter {
        node,
        addresses: Some(v1::PeerAddresses { message: node.to_string(), ..Default::default() }),
        ..Default::default()
    });
    let voters = prop::collection::vec(voter, 0..20);
    prop_oneof![
        voters.clone().prop_map(|voters| frame(Body::Hello(v1::PeerHello { voters, ..Default::default() }))),
        voters.prop_map(|voters| frame(Body::Formed(v1::Formed {
            genesis: Some(v1::Genesis { voters, ..Default::default() })
        }))),
        prop::collection::vec(zxid, 0..50)
            .prop_map(|boundaries| frame(Body::AckEpoch(v1::AckEpoch { boundaries, ..Default::default() }))),
        prop::collection::vec(entry, 0..50)
            .prop_map(|entries| frame(Body::Propose(v1::Propose { entries, ..Default::default() }))),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| frame(Body::Relay(bytes.into()))),
        Just(v1::PeerFrame::default()),
    ]
}

proptest! {
    #[test]
    fn the_walk_counts_what_decoding_makes(message in node_messages()) {
        let bytes = Bytes::from(message.encode_to_vec());
        let elements = naive(&message);
        prop_assert_eq!(found::<v1::PeerFrame>(&bytes), elements);
        prop_assert_eq!(decode::<v1::PeerFrame>(bytes.clone(), elements), Ok(message));
        if let Some(fewer) = elements.checked_sub(1) {
            let refused = Err(DecodeError::TooManyElements(fewer));
            prop_assert_eq!(decode::<v1::PeerFrame>(bytes, fewer), refused);
        }
    }

    /// A frame may name the same field twice, and protobuf then joins the two: the count must not be reset.
    #[test]
    fn frames_joined_are_counted_together(a in node_messages(), b in node_messages()) {
        let mut bytes = a.encode_to_vec();
        bytes.extend(b.encode_to_vec());
        let joined = v1::PeerFrame::decode(bytes.as_slice()).expect("two messages are one");
        prop_assert!(found::<v1::PeerFrame>(&bytes) >= naive(&joined));
        prop_assert_eq!(found::<v1::PeerFrame>(&bytes), naive(&a) + naive(&b));
    }

    #[test]
    fn decoded_messages_have_no_more_elements_than_allowed(
        bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(0x1a), Just(0xaa), any::<u8>()], 0..300),
        body in prop_oneof![Just(0x0au8), Just(0x12), Just(0x2a), Just(0x62), Just(0xaa)],
        max in 0usize..20,
    ) {
        let mut frame = vec![body];
        if body == 0xaa {
            frame.push(1);
        }
        prost::encoding::encode_varint(bytes.len() as u64, &mut frame);
        frame.extend(&bytes);
        if let Ok(message) = decode::<v1::PeerFrame>(frame.into(), max) {
            prop_assert!(naive(&message) <= max);
        }
    }

    #[test]
    fn numbers_that_repeat_are_counted_packed_or_not(
        rejected in prop::collection::vec(any::<u32>(), 0..50),
        sessions in prop::collection::vec(any::<u64>(), 0..50),
    ) {
        let packed = v1::ForwardRejected { id: 1, rejected: rejected.clone(), kind: 1, ..Default::default() }
            .encode_to_vec();
        prop_assert_eq!(found::<v1::ForwardRejected>(&packed), rejected.len());
        let packed = v1::Contacts { sessions: sessions.clone() }.encode_to_vec();
        prop_assert_eq!(found::<v1::Contacts>(&packed), sessions.len());

        let (mut varints, mut fixed) = (Vec::new(), Vec::new());
        rejected.iter().for_each(|number| prost::encoding::uint32::encode(2, number, &mut varints));
        sessions.iter().for_each(|number| prost::encoding::fixed64::encode(1, number, &mut fixed));
        prop_assert_eq!(found::<v1::ForwardRejected>(&varints), rejected.len());
        prop_assert_eq!(found::<v1::Contacts>(&fixed), sessions.len());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = decode::<v1::PeerFrame>(bytes.clone(), 10);
        let _ = decode::<v1::ClientFrame>(bytes.clone(), 10);
        let _ = decode::<v1::ServerFrame>(bytes.clone(), 10);
        let _ = decode::<v1::NodeMessage>(bytes.clone(), 10);
        let _ = check_fields::<v1::ClientFrame>(&bytes, 10);
        let _ = decode::<v1::SessionRecord>(bytes, 10);
    }
}

/// `length` bytes of one sub-message that repeats an empty element.
fn hostile(path: &[u8], element: &[u8], length: usize) -> Bytes {
    let mut inner = element.repeat(length / element.len());
    for &key in path.iter().rev() {
        let mut outer = Vec::with_capacity(inner.len() + 8);
        prost::encoding::encode_varint(u64::from(key), &mut outer);
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        outer.extend(inner);
        inner = outer;
    }
    inner.into()
}

/// Key of a length-delimited field.
const fn key(number: u8) -> u8 {
    number << 3 | 2
}

#[test]
fn a_mebibyte_of_empty_elements_is_refused_wherever_it_hides() {
    let max = PEER_ELEMENTS_MAX;
    let refused = DecodeError::TooManyElements(max);
    for (path, element) in [
        (&[key(21)][..], &[key(3), 0][..]),
        (&[key(12)], &[key(5), 0]),
        (&[key(1)], &[key(9), 0]),
        (&[key(2), key(1)], &[key(3), 0]),
        (&[key(5), key(1)], &[key(3), 0]),
    ] {
        let bytes = hostile(path, element, 1 << 20);
        assert_eq!(decode::<v1::PeerFrame>(bytes, max), Err(refused.clone()), "{path:?}");
    }
    for (path, element) in
        [(&[key(1)][..], &[key(2), 0][..]), (&[key(2), key(2)], &[1]), (&[key(5), key(1)], &[0])]
    {
        let bytes = hostile(path, element, 1 << 20);
        assert_eq!(decode::<v1::NodeMessage>(bytes, max), Err(refused.clone()), "{path:?}");
    }
    let members = hostile(&[key(6)], &[key(3), 0], 1 << 20);
    assert_eq!(decode::<v1::ServerFrame>(members, max), Err(refused.clone()));
    let peers = hostile(&[key(2), key(15)], &[key(14), 0], 1 << 20);
    assert_eq!(decode::<v1::ServerFrame>(peers, max), Err(refused));
}

#[test]
fn elements_within_the_bound_are_small() {
    // No element of a message between nodes takes more than this, so the bound on their number bounds memory:
    // 4 MiB, and as much again while the list grows.
    for size in [size_of::<v1::Voter>(), size_of::<v1::LogEntry>(), size_of::<v1::Zxid>(), size_of::<Bytes>()]
    {
        assert!(size <= 128, "{size}");
    }
    for size in [
        size_of::<v1::Member>(),
        size_of::<v1::PeerStatus>(),
        size_of::<v1::Recorded>(),
        size_of::<v1::MemberRecord>(),
    ] {
        assert!(size <= 128, "{size}");
    }
}

#[test]
fn the_repeated_fields_of_client_frames_are_bounded() {
    use v1::{client_frame::Body, request::Operation};
    let asks = |count: usize| {
        let question = v1::SafeToStop { nodes: vec![u64::MAX; count] };
        let request = v1::Request { operation: Some(Operation::SafeToStop(question)), ..Default::default() };
        Bytes::from(v1::ClientFrame { body: Some(Body::Request(request)) }.encode_to_vec())
    };
    assert!(decode::<v1::ClientFrame>(asks(CLIENT_ELEMENTS_MAX), CLIENT_ELEMENTS_MAX).is_ok());
    let refused = decode::<v1::ClientFrame>(asks(CLIENT_ELEMENTS_MAX + 1), CLIENT_ELEMENTS_MAX);
    assert_eq!(refused, Err(DecodeError::TooManyElements(CLIENT_ELEMENTS_MAX)));
    fn repeated(shape: &Shape) -> usize {
        let fields = shape.fields.iter().map(|(_, field)| match field {
            Field::Message(inner) => repeated(inner),
            Field::Elements(_) | Field::Fixed(_) | Field::Varints => 1,
        });
        fields.sum()
    }
    // The nodes of SafeToStop; the comparisons and the two branches of Txn, whose operations are large.
    assert_eq!(repeated(v1::ClientFrame::SHAPE), 4, "bound the number of another one too");
    assert!(size_of::<v1::TxnOperation>() <= 256 && size_of::<v1::Compare>() <= 192);
}

#[test]
fn every_request_has_few_fields() {
    use v1::request::Operation;
    // Bytes that read as fields when they are taken for a message.
    let (key, value) = (Bytes::from(vec![0x0a; 4096]), Bytes::from(vec![0x0a; 1 << 20]));
    for operation in [
        Operation::Cas(v1::Cas { key: key.clone(), revision: u64::MAX, value }),
        Operation::Get(v1::Get { key, consistency: 1, min_revision: u64::MAX }),
        Operation::EndSession(v1::EndSession { session: u64::MAX }),
    ] {
        let write = Some(v1::WriteContext { session: u64::MAX, seq: u64::MAX, lowest: u64::MAX });
        let request = v1::Request {
            id: 1,
            deadline_ms: 1,
            write,
            operation: Some(operation),
            ..v1::Request::default()
        };
        let frame = v1::ClientFrame { body: Some(v1::client_frame::Body::Request(request)) };
        assert_eq!(check_fields::<v1::ClientFrame>(&frame.encode_to_vec(), 11), Ok(()));
    }
}

#[test]
fn the_largest_transaction_is_decoded() {
    use v1::{compare::Operand, request::Operation, txn_operation};
    let compare = v1::Compare { key: "k".into(), relation: 1, operand: Some(Operand::ModRevision(1)) };
    let range = v1::Range {
        start: "a".into(),
        end: "b".into(),
        prefix: "a".into(),
        limit: 1,
        reverse: true,
        keys_only: true,
        count_only: true,
        delimiter: "/".into(),
        ..Default::default()
    };
    let operation = v1::TxnOperation { operation: Some(txn_operation::Operation::Range(range)) };
    let txn = v1::Txn {
        when: vec![compare; TXN_OPERATIONS_MAX],
        then: vec![operation.clone(); TXN_OPERATIONS_MAX],
        otherwise: vec![operation; TXN_OPERATIONS_MAX],
        consistency: 1,
        min_revision: 1,
    };
    let write = Some(v1::WriteContext { session: 1, seq: 1, lowest: 1 });
    let request = v1::Request {
        id: 1,
        deadline_ms: 1,
        write,
        operation: Some(Operation::Txn(txn)),
        ..v1::Request::default()
    };
    let frame = v1::ClientFrame { body: Some(v1::client_frame::Body::Request(request)) }.encode_to_vec();
    assert_eq!(check_fields::<v1::ClientFrame>(&frame, CLIENT_FIELDS_MAX), Ok(()));
    assert!(decode::<v1::ClientFrame>(frame.into(), CLIENT_ELEMENTS_MAX).is_ok());
}

#[test]
fn fields_are_counted_wherever_they_hide() {
    let few = |bytes: &[u8]| check_fields::<v1::ClientFrame>(bytes, 256);
    let many = |path: &[u8], element: &[u8]| hostile(path, element, 257 * element.len());
    for element in [&[0x12, 0][..], &[0x08, 1], &[0xe2, 0x03, 0], &[0x0d, 1, 2, 3, 4]] {
        for path in [&[][..], &[key(2)], &[key(2), key(12)], &[key(2), key(3)], &[key(1), key(5)]] {
            let refused = Err(DecodeError::TooManyFields(256));
            assert_eq!(few(&many(path, element)), refused, "{path:?} {element:?}");
        }
        assert!(few(&many(&[key(2)], &element.repeat(129)).repeat(2)).is_err(), "{element:?}");
    }
    // Neither a value nor an unknown field is a message.
    for path in [&[key(2), key(12), key(2)][..], &[key(2), key(9)]] {
        assert_eq!(few(&many(path, &[0x12, 0])), Ok(()), "{path:?}");
    }
}

#[test]
fn groups_and_broken_lengths_are_malformed() {
    for bytes in
        [&[0x0b_u8][..], &[0x0c], &[0x0f], &[0x0a, 5, 0], &[0x0a], &[0x09, 1, 2], &[0x0d, 1], &[0x80]]
    {
        assert_eq!(check_elements::<v1::PeerFrame>(bytes, 9), Err(DecodeError::Malformed), "{bytes:?}");
    }
}

#[test]
fn payloads_are_not_copied() {
    let entry = v1::LogEntry { payload: Bytes::from(vec![7; 1000]), ..Default::default() };
    let message =
        frame(v1::peer_frame::Body::Propose(v1::Propose { entries: vec![entry; 3], ..Default::default() }));
    let bytes = Bytes::from(message.encode_to_vec());
    let memory = bytes.as_ptr_range();
    let Ok(v1::PeerFrame { body: Some(v1::peer_frame::Body::Propose(propose)) }) = decode(bytes.clone(), 3)
    else {
        panic!("an encoded message");
    };
    assert_eq!(propose.entries.len(), 3);
    for entry in &propose.entries {
        assert!(memory.contains(&entry.payload.as_ptr()));
    }
}
