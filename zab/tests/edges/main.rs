//! The edges: one node whose peers say exactly what a test has them say, at exactly that moment.
//!
//! Scripts (`testscripts/`) show how nodes work together; here stands what a transcript of them hardly shows: the
//! last microsecond before a timeout, the entry that just fits, the message that is nearly right. Each test's name
//! is what must hold, and the rule is cited where there is one (`docs/protocol.md`).

mod duplicate;
mod following;
mod forming;
mod greeting;
mod leading;
mod life;
mod looking;
mod serving;
mod solo;
mod streaming;
mod words;
