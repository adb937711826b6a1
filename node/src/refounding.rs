//! The sessions that end when an ensemble is founded anew (`gometa-server -recover`; [`gometa_zab::refound`]).

use std::collections::BTreeSet;

use gometa_proto::v1::{self, Command, command::Body};
use gometa_store::{decode_command, encode_command};
use gometa_zab::{Kind, LogEntry, Zxid};

/// The sessions that one entry ends, so that no entry takes long to apply.
const SESSIONS_PER_ENTRY: usize = 1_000;

/// All sessions that may be open at the end of a survivor's log: those of its state, and those that entries above it open.
/// Some of them may have ended; to end one again changes nothing.
#[derive(Clone, Default, Debug)]
pub struct OpenSessions(BTreeSet<u64>);

impl OpenSessions {
    /// Adds a session of the state, by the key of its record.
    ///
    /// # Errors
    /// The key is not that of a session.
    pub fn add_recorded(&mut self, key: &[u8]) -> Result<(), &'static str> {
        let id = <[u8; 8]>::try_from(key).map_err(|_| "the state has a session without an id")?;
        self.0.insert(u64::from_be_bytes(id));
        Ok(())
    }

    /// Adds the session that an entry above the state opens, if it opens one.
    pub fn add_logged(&mut self, entry: LogEntry) {
        let counter = entry.zxid.counter;
        if entry.kind == Kind::Command
            && let Ok(Command { body: Some(Body::CreateSession(_)) }) = decode_command(entry.payload)
        {
            probe!("refounding.ends-logged-session");
            planted!(
                {
                    self.0.insert(counter);
                },
                keeps_logged_sessions_of_lost_quorum => ()
            );
        }
    }

    /// The number of sessions.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The entries that end these sessions, behind one of the same epoch, made for this feature level.
    pub fn end_behind(&self, before: Zxid, level: u32) -> Vec<LogEntry> {
        let sessions: Vec<u64> =
            planted!(self.0.iter().copied().collect(), keeps_sessions_of_lost_quorum => Vec::new());
        let entry = |(number, some): (u64, &[u64])| {
            let body = Body::EndSessions(v1::EndSessions { sessions: some.to_vec() });
            LogEntry {
                zxid: Zxid { counter: before.counter + number, ..before },
                kind: Kind::Command,
                level,
                payload: encode_command(&Command { body: Some(body) }),
            }
        };
        (1..).zip(sessions.chunks(SESSIONS_PER_ENTRY)).map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gometa_zab::Epoch;

    use super::*;

    fn opened(counter: u64) -> LogEntry {
        let create = v1::CreateSession { nonce: Bytes::from_static(&[7; 16]), timeout_ms: 1_000 };
        LogEntry {
            zxid: Zxid { epoch: Epoch(3), counter },
            kind: Kind::Command,
            level: 1,
            payload: encode_command(&Command { body: Some(Body::CreateSession(create)) }),
        }
    }

    #[test]
    fn recorded_and_logged_sessions_end_in_entries_of_a_thousand() {
        let mut sessions = OpenSessions::default();
        for id in 1..=1_500_u64 {
            sessions.add_recorded(&id.to_be_bytes()).unwrap();
        }
        assert!(sessions.add_recorded(b"short").is_err());
        sessions.add_logged(opened(1_600));
        sessions.add_logged(LogEntry { kind: Kind::Membership, ..opened(1_601) });
        assert_eq!(sessions.count(), 1_501);
        let entries = sessions.end_behind(Zxid { epoch: Epoch(4), counter: 2_000 }, 1);
        let zxids: Vec<_> = entries.iter().map(|entry| (entry.zxid.epoch.0, entry.zxid.counter)).collect();
        assert_eq!(zxids, [(4, 2_001), (4, 2_002)]);
        let ended: Vec<u64> = entries
            .into_iter()
            .flat_map(|entry| match decode_command(entry.payload).unwrap().body {
                Some(Body::EndSessions(end)) => end.sessions,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ended, (1..=1_500).chain([1_600]).collect::<Vec<_>>());
        assert!(OpenSessions::default().end_behind(Zxid::ZERO, 1).is_empty());
    }
}
