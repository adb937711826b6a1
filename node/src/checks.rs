//! What a request must satisfy before anything is done about it.

use gometa_proto::{
    ErrorKind,
    limits::{ID_LENGTH, KEY_MAX, VALUE_MAX, WINDOW_MAX},
    v1::{self, Error, Request, WriteContext, command, request::Operation, write},
};

/// A request that has been checked.
pub(crate) enum Checked {
    OpenSession(v1::CreateSession),
    Write(v1::Write),
    EndSession(u64),
    Get(v1::Get),
    Status,
}

/// Checks a request; an error says what is wrong with it and that nothing was done.
pub(crate) fn check(request: Request, session_timeout_ms: u32) -> Result<Checked, Error> {
    let context = request.write;
    let (operation, key, value) = match request.operation {
        None => {
            return Err(Error::not_applied(ErrorKind::Unsupported, "the request names no known operation"));
        }
        Some(Operation::Status(_)) => return Ok(Checked::Status),
        Some(Operation::OpenSession(open)) => {
            if open.nonce.len() != ID_LENGTH {
                let message = format!("the nonce has {} bytes, not {ID_LENGTH}", open.nonce.len());
                return Err(Error::not_applied(ErrorKind::InvalidArgument, message));
            }
            return Ok(Checked::OpenSession(v1::CreateSession {
                nonce: open.nonce,
                timeout_ms: session_timeout_ms,
            }));
        }
        Some(Operation::EndSession(end)) => return Ok(Checked::EndSession(end.session)),
        Some(Operation::Get(get)) => {
            check_key(&get.key)?;
            if v1::Consistency::try_from(get.consistency).is_err() {
                let message = format!("consistency {} is not known", get.consistency);
                return Err(Error::not_applied(ErrorKind::Unsupported, message));
            }
            return Ok(Checked::Get(get));
        }
        Some(Operation::Add(add)) => {
            let (key, value) = (add.key.clone(), Some(add.value.len()));
            (write::Operation::Add(add), key, value)
        }
        Some(Operation::Set(set)) => {
            let (key, value) = (set.key.clone(), Some(set.value.len()));
            (write::Operation::Set(set), key, value)
        }
        Some(Operation::Cas(cas)) => {
            let (key, value) = (cas.key.clone(), Some(cas.value.len()));
            (write::Operation::Cas(cas), key, value)
        }
        Some(Operation::Delete(delete)) => {
            let key = delete.key.clone();
            (write::Operation::Delete(delete), key, None)
        }
    };
    check_key(&key)?;
    if let Some(length) = value.filter(|length| *length > VALUE_MAX) {
        let message = format!("the value has {length} bytes, at most {VALUE_MAX} are allowed");
        return Err(Error::not_applied(ErrorKind::TooLarge, message));
    }
    let context = context.ok_or_else(|| invalid("a write needs a session: open one first"))?;
    check_context(&context)?;
    Ok(Checked::Write(v1::Write { context: Some(context), operation: Some(operation) }))
}

fn invalid(message: &str) -> Error {
    Error::not_applied(ErrorKind::InvalidArgument, message)
}

fn check_key(key: &[u8]) -> Result<(), Error> {
    if key.is_empty() {
        return Err(invalid("the key is empty"));
    }
    if key.len() > KEY_MAX {
        let message = format!("the key has {} bytes, at most {KEY_MAX} are allowed", key.len());
        return Err(Error::not_applied(ErrorKind::TooLarge, message));
    }
    Ok(())
}

fn check_context(context: &WriteContext) -> Result<(), Error> {
    if context.session == 0 {
        return Err(invalid("a write needs a session: open one first"));
    }
    if context.lowest == 0 || context.lowest > context.seq {
        return Err(invalid("a write needs 1 <= lowest <= seq"));
    }
    if context.seq - context.lowest >= WINDOW_MAX {
        let message = format!("seq - lowest must stay below {WINDOW_MAX}: wait for answers first");
        return Err(Error::not_applied(ErrorKind::ResourceExhausted, message));
    }
    Ok(())
}

/// The command that a checked write is replicated as.
pub(crate) fn command(body: command::Body) -> v1::Command {
    v1::Command { body: Some(body) }
}
