//! The operations: the name, key, value and checks of each, and whether it is a write. One definition for clients,
//! nodes and the store.
//!
//! Executing an operation is up to `store` (writes) and `node` (the others).

use std::fmt;

use bytes::Bytes;

use crate::{
    ErrorKind,
    limits::{BACKUP_CHUNK_MAX, ID_LENGTH, MEMBERS_MAX, WINDOW_MAX, advertised},
    range::{check_consistency, check_range, invalid},
    settings::check_set_setting,
    txn::{check_key, check_txn, txn_bytes, txn_size},
    v1::{self, Error, Guard, Limits, Request, WriteContext, request},
};

/// Optional facts of an operation: `key`, `revision` (and its default) and `value` are the names of those fields, in the
/// order of its parameters; `bytes` is the name of another field of type `bytes`; `nested` is a function that returns all
/// fields of type `bytes` at all depths, `size` one for the memory of other fields, `check` one with further checks.
macro_rules! operations {
    ($($(#[doc = $doc:literal])+ $(#[cfg($cfg:meta)])? $name:ident {
        name: $text:literal, is_write: $is_write:literal
        $(, key: $key:ident)? $(, revision: $revision:ident $(or $default:literal)?)? $(, value: $value:ident)?
        $(, bytes: $bytes:ident)? $(, nested: $nested:ident)? $(, size: $size:ident)? $(, check: $check:ident)?
    })+) => {
        /// An operation of a client.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum Operation {
            /// Build a client. Sends no request.
            Build,
            /// List the members. Sends no request.
            Members,
            $($(#[doc = $doc])+ $(#[cfg($cfg)])? $name,)+
        }

        impl Operation {
            /// Its name, lower case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    Operation::Build => "build client",
                    Operation::Members => "members",
                    $($(#[cfg($cfg)])? Operation::$name => $text,)+
                }
            }

            /// The operation with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Operation> {
                [Operation::Build, Operation::Members, $($(#[cfg($cfg)])? Operation::$name,)+]
                    .into_iter()
                    .find(|operation| operation.name() == name)
            }

            /// The names of its parameters `key`, `revision` and `value`, in the order of its arguments.
            #[must_use]
            pub const fn parameters(self) -> &'static [&'static str] {
                match self {
                    Operation::Build | Operation::Members => &[],
                    $($(#[cfg($cfg)])? Operation::$name => {
                        &[$(stringify!($key),)? $(stringify!($revision),)? $(stringify!($value),)?]
                    })+
                }
            }

            /// Whether it is a write: replicated, and sent with a [`WriteContext`], so that it happens once.
            #[must_use]
            pub const fn is_write(self) -> bool {
                match self {
                    Operation::Build | Operation::Members => false,
                    $($(#[cfg($cfg)])? Operation::$name => $is_write,)+
                }
            }
        }

        #[expect(unused_variables, clippy::needless_update, reason = "operations have some or all of the fields")]
        impl request::Operation {
            /// Creates a request's operation; ignores arguments that it does not have. `None` if no request belongs to
            /// the operation.
            pub fn new(operation: Operation, arguments: Arguments) -> Option<Self> {
                match operation {
                    Operation::Build | Operation::Members => None,
                    $($(#[cfg($cfg)])? Operation::$name => Some(Self::$name(v1::$name {
                        $($key: arguments.key,)?
                        $($revision: arguments.revision$(.unwrap_or($default))?,)?
                        $($value: arguments.value,)?
                        ..v1::$name::default()
                    })),)+
                }
            }

            /// Which operation it is.
            pub fn kind(&self) -> Operation {
                match self {
                    $($(#[cfg($cfg)])? Self::$name(_) => Operation::$name,)+
                }
            }

            /// The key that it is about.
            pub fn key(&self) -> Option<&Bytes> {
                match self {
                    $($(#[cfg($cfg)])? Self::$name(operation) => None$(.or(Some(&operation.$key)))?,)+
                }
            }

            /// The value that it carries.
            pub fn value(&self) -> Option<&Bytes> {
                match self {
                    $($(#[cfg($cfg)])? Self::$name(operation) => None$(.or(Some(&operation.$value)))?,)+
                }
            }

            /// The size of its fields of type `bytes`, in bytes; of a transaction, about all its memory.
            pub fn size(&self) -> usize {
                match self {
                    $($(#[cfg($cfg)])? Self::$name(operation) => {
                        0 $(+ operation.$key.len())? $(+ operation.$value.len())? $(+ operation.$bytes.len())?
                            $(+ $size(operation))?
                    })+
                }
            }

            /// Copies its fields of type `bytes`, so that it keeps no frame in memory.
            pub fn detach(&mut self) {
                match self {
                    $($(#[cfg($cfg)])? Self::$name(operation) => {
                        $(operation.$key = Bytes::copy_from_slice(&operation.$key);)?
                        $(operation.$value = Bytes::copy_from_slice(&operation.$value);)?
                        $(operation.$bytes = Bytes::copy_from_slice(&operation.$bytes);)?
                        $($nested(operation).into_iter().for_each(|bytes| *bytes = Bytes::copy_from_slice(bytes));)?
                    })+
                }
            }

            /// Checks everything but sizes.
            ///
            /// # Errors
            /// A kind and a message.
            pub fn check_fields(&self) -> Result<(), Error> {
                if self.key().is_some_and(Bytes::is_empty) {
                    return Err(invalid("the key is empty; keys have at least 1 byte"));
                }
                match self {
                    $($(#[cfg($cfg)])? Self::$name(operation) => { $($check(operation)?;)? })+
                }
                Ok(())
            }
        }
    };
}

operations! {
    /// Open a session. Part of a client's first write.
    OpenSession { name: "open session", is_write: false, bytes: nonce, check: check_nonce }
    /// Create a key.
    Add { name: "add", is_write: true, key: key, value: value }
    /// Create or replace a key.
    Set { name: "set", is_write: true, key: key, value: value }
    /// Replace a key that is at a revision.
    Cas { name: "cas", is_write: true, key: key, revision: revision or 0, value: value }
    /// Remove a key.
    Delete { name: "delete", is_write: true, key: key, revision: revision }
    /// Read a key.
    Get { name: "get", is_write: false, key: key, check: check_get }
    /// Read keys in order.
    Range { name: "range", is_write: false, check: check_range }
    /// Read the versions of a key.
    GetHistory { name: "get history", is_write: false, key: key, check: check_get_history }
    /// Execute several operations as one.
    Txn { name: "txn", is_write: true, nested: txn_bytes, size: txn_size, check: check_txn }
    /// List the settings of the ensemble.
    ListSettings { name: "list settings", is_write: false }
    /// Change a setting of the ensemble.
    SetSetting { name: "set setting", is_write: true, size: setting_size, check: check_set_setting }
    /// Describe the state of a node.
    Status { name: "status", is_write: false }
    /// End a session.
    EndSession { name: "end session", is_write: false }
    /// Join an ensemble. Sent by nodes.
    AddLearner { name: "add learner", is_write: false, bytes: incarnation, check: check_add_learner }
    /// Make a learner a voter.
    PromoteMember { name: "promote member", is_write: false, check: check_promote }
    /// Remove a member.
    RemoveMember { name: "remove member", is_write: false, check: check_remove }
    /// Replace a voter by a learner.
    ReplaceMember { name: "replace member", is_write: false, check: check_replace }
    /// Leave a learner that is to become a voter a learner.
    CancelPromotion { name: "cancel promotion", is_write: false, check: check_cancel }
    /// Hand the leadership over.
    TransferLeadership { name: "transfer leadership", is_write: false }
    /// Raise the feature level of the ensemble.
    FinalizeUpgrade { name: "finalize upgrade", is_write: false, check: check_finalize }
    /// List the members with their roles.
    ListMembers { name: "list members", is_write: false }
    /// Ask whether nodes can be stopped.
    SafeToStop { name: "safe to stop", is_write: false, check: check_safe_to_stop }
    /// Begin a backup of a node's state.
    BeginBackup { name: "begin backup", is_write: false }
    /// Read a part of a backup.
    ReadBackup { name: "read backup", is_write: false, check: check_read_backup }
    /// Append to the value of a key, or create it. Of the test level only.
    #[cfg(gometa_next_level)]
    Append { name: "append", is_write: true, key: key, value: value }
}

/// The arguments of an operation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Arguments {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The expected `mod_revision`. `None` is no condition for a delete, and 0 for others.
    pub revision: Option<u64>,
}

impl Operation {
    /// The feature level of the ensemble from which on nodes carry it out.
    #[must_use]
    pub const fn level(self) -> u32 {
        match self {
            #[cfg(gometa_next_level)]
            Operation::Append => 2,
            _ => 1,
        }
    }

    /// Whether it may change something: without an answer its outcome is unknown.
    #[must_use]
    pub const fn has_effect(self) -> bool {
        match self {
            Operation::AddLearner
            | Operation::PromoteMember
            | Operation::RemoveMember
            | Operation::ReplaceMember
            | Operation::CancelPromotion
            | Operation::FinalizeUpgrade
            | Operation::TransferLeadership => true,
            Operation::Build
            | Operation::Members
            | Operation::OpenSession
            | Operation::Add
            | Operation::Set
            | Operation::Cas
            | Operation::Delete
            | Operation::Get
            | Operation::Range
            | Operation::GetHistory
            | Operation::Txn
            | Operation::ListSettings
            | Operation::SetSetting
            | Operation::Status
            | Operation::EndSession
            | Operation::ListMembers
            | Operation::SafeToStop
            | Operation::BeginBackup
            | Operation::ReadBackup => self.is_write(),
            #[cfg(gometa_next_level)]
            Operation::Append => self.is_write(),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl request::Operation {
    /// Checks the sizes of key and value.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`].
    pub fn check_sizes(&self, limits: &Limits) -> Result<(), Error> {
        for (what, bytes, max) in
            [("key", self.key(), limits.key_max), ("value", self.value(), limits.value_max)]
        {
            let size = bytes.map_or(0, Bytes::len);
            if size > max as usize {
                let message = format!("a {what} of {size} bytes exceeds the limit of {max} bytes");
                return Err(Error::not_applied(ErrorKind::TooLarge, message));
            }
        }
        Ok(())
    }

    /// Checks everything, with this program's own limits.
    ///
    /// # Errors
    /// A kind and a message.
    pub fn check(&self) -> Result<(), Error> {
        self.check_fields()?;
        self.check_sizes(&advertised(0))
    }

    /// Whether it is a write: see [`Operation::is_write`]. A transaction that writes in neither branch is a read.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Txn(txn) => txn.writes(),
            other => other.kind().is_write(),
        }
    }
}

impl request::Operation {
    /// Whether it may change something: see [`Operation::has_effect`].
    pub fn has_effect(&self) -> bool {
        self.is_write() || (!self.kind().is_write() && self.kind().has_effect())
    }
}

impl Request {
    /// The size of its fields of type `bytes`, in bytes; of a transaction, about all its memory.
    pub fn size(&self) -> usize {
        let guard = self.guard.as_ref().map_or(0, |guard| guard.key.len());
        guard + self.operation.as_ref().map_or(0, request::Operation::size)
    }

    /// Copies its fields of type `bytes`, so that it keeps no frame in memory.
    pub fn detach(&mut self) {
        if let Some(guard) = &mut self.guard {
            guard.key = Bytes::copy_from_slice(&guard.key);
        }
        if let Some(operation) = &mut self.operation {
            operation.detach();
        }
    }

    /// Checks what a node must check before it carries a request out.
    ///
    /// # Errors
    /// A kind and a message; outcome: not applied.
    pub fn check(&self) -> Result<(), Error> {
        let Some(operation) = &self.operation else {
            return Err(Error::not_applied(ErrorKind::Unsupported, "the request names no known operation"));
        };
        operation.check()?;
        if !operation.is_write() {
            return match self.guard {
                Some(_) => Err(invalid("a request that writes nothing has no guard")),
                None => Ok(()),
            };
        }
        self.guard.as_ref().map_or(Ok(()), Guard::check)?;
        match &self.write {
            Some(context) if context.session != 0 => context.check(),
            _ => Err(invalid("a write needs a session: open one first")),
        }
    }
}

impl Guard {
    /// Checks the key and the revision.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] and [`ErrorKind::TooLarge`].
    pub fn check(&self) -> Result<(), Error> {
        check_key(&self.key)?;
        if self.create_revision == 0 {
            return Err(invalid("a guard has the revision at which its key was created, which is above 0"));
        }
        Ok(())
    }
}

impl WriteContext {
    /// Checks the numbers of a write.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] unless 1 <= `lowest` <= `seq`, [`ErrorKind::ResourceExhausted`] if `seq` is
    /// too far above `lowest`.
    pub fn check(&self) -> Result<(), Error> {
        if self.lowest == 0 || self.lowest > self.seq {
            return Err(invalid("a write needs 1 <= lowest <= seq"));
        }
        if self.seq - self.lowest >= WINDOW_MAX {
            let message = format!("seq - lowest must stay below {WINDOW_MAX}: wait for answers first");
            return Err(Error::not_applied(ErrorKind::ResourceExhausted, message));
        }
        Ok(())
    }
}

fn setting_size(set: &v1::SetSetting) -> usize {
    set.name.len()
}

fn check_nonce(open: &v1::OpenSession) -> Result<(), Error> {
    match open.nonce.len() {
        ID_LENGTH => Ok(()),
        length => Err(invalid(&format!("the nonce has {length} bytes, not {ID_LENGTH}"))),
    }
}

fn check_add_learner(add: &v1::AddLearner) -> Result<(), Error> {
    check_node(add.node)?;
    if add.incarnation.len() != ID_LENGTH {
        return Err(invalid(&format!(
            "the incarnation has {} bytes, not {ID_LENGTH}",
            add.incarnation.len()
        )));
    }
    let v1::AddLearner { election_address, message_address, request_address, .. } = add;
    for (name, address) in
        [("election", election_address), ("message", message_address), ("request", request_address)]
    {
        if address.is_empty() || crate::check::address(address).is_err() {
            return Err(invalid(&format!("the {name} address is not of the form host:port")));
        }
    }
    Ok(())
}

fn check_promote(promote: &v1::PromoteMember) -> Result<(), Error> {
    check_node(promote.node)
}

fn check_remove(remove: &v1::RemoveMember) -> Result<(), Error> {
    check_node(remove.node)
}

fn check_replace(replace: &v1::ReplaceMember) -> Result<(), Error> {
    check_node(replace.node)?;
    check_node(replace.replacement)?;
    if replace.node == replace.replacement {
        return Err(invalid("a member cannot be replaced by itself"));
    }
    Ok(())
}

fn check_cancel(cancel: &v1::CancelPromotion) -> Result<(), Error> {
    check_node(cancel.node)
}

fn check_finalize(finalize: &v1::FinalizeUpgrade) -> Result<(), Error> {
    match finalize.level {
        0 => Err(invalid("no feature level is named; the first one is 1")),
        _ => Ok(()),
    }
}

fn check_safe_to_stop(question: &v1::SafeToStop) -> Result<(), Error> {
    match question.nodes.len() {
        0 => return Err(invalid("no node is named")),
        count if count > MEMBERS_MAX => {
            return Err(invalid(&format!("{count} nodes are named; an ensemble has at most {MEMBERS_MAX}")));
        }
        _ => {}
    }
    question.nodes.iter().try_for_each(|node| check_node(*node))
}

fn check_read_backup(read: &v1::ReadBackup) -> Result<(), Error> {
    match read.length as usize {
        1..=BACKUP_CHUNK_MAX => Ok(()),
        length => Err(invalid(&format!("{length} bytes are requested; 1 to {BACKUP_CHUNK_MAX} are allowed"))),
    }
}

fn check_node(node: u64) -> Result<(), Error> {
    if node == 0 { Err(invalid("0 is the id of no node")) } else { Ok(()) }
}

fn check_get(get: &v1::Get) -> Result<(), Error> {
    check_consistency(get.consistency)
}

fn check_get_history(get: &v1::GetHistory) -> Result<(), Error> {
    check_consistency(get.consistency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_built_by_its_name_from_its_arguments() {
        let arguments = Arguments { key: "k".into(), value: "v".into(), revision: Some(7) };
        for (name, parameters, is_write, size) in [
            ("add", &["key", "value"][..], true, 2),
            ("cas", &["key", "revision", "value"], true, 2),
            ("delete", &["key", "revision"], true, 1),
            ("get", &["key"], false, 1),
            ("get history", &["key"], false, 1),
            ("status", &[], false, 0),
        ] {
            let operation = Operation::from_name(name).expect(name);
            assert_eq!((operation.parameters(), operation.is_write()), (parameters, is_write), "{name}");
            let built = request::Operation::new(operation, arguments.clone()).expect(name);
            assert_eq!((built.kind(), built.size()), (operation, size), "{name}");
            assert!(built.check().is_ok(), "{name}");
        }
        let cas = request::Operation::new(Operation::Cas, arguments).expect("a request");
        let expected = v1::Cas { key: "k".into(), revision: 7, value: "v".into() };
        assert_eq!(cas, request::Operation::Cas(expected));
        assert_eq!(request::Operation::new(Operation::Members, Arguments::default()), None);
    }
}
