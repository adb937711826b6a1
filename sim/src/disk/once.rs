//! Writes of a program that opens the data directory of a stopped node and ends then.

use gometa_zab::{Token, Write};

use super::{Disk, End, Failed};

impl Disk {
    /// Writes these as one batch of the log, with the same calls as `gometa-server -recover`, and syncs the mark. If the
    /// program is to end in the midst of that, returns whether it has, and the next start finds all of it or nothing.
    /// Must follow [`Disk::recover`]; no process runs afterwards.
    ///
    /// # Errors
    /// The disk has failed.
    pub fn write_once(&mut self, writes: Vec<Write>, interrupted: Option<End>) -> Result<bool, Failed> {
        let (tried, released) = (writes.len(), self.released.max(self.applied()));
        for (number, write) in (1..).zip(writes) {
            self.issue(Token(number), write, released);
        }
        if let Some(end) = interrupted {
            if let Some(files) = &mut self.files {
                files.stop(self.pending.range(..tried));
            }
            self.found = tried;
            self.stop(end, tried);
            return Ok(self.found != 0);
        }
        self.busy = tried;
        self.finish(0)?;
        self.sync_mark();
        self.close();
        Ok(true)
    }

    /// The program ends without a write.
    pub fn close(&mut self) {
        self.found = 0;
        self.stop(End::Killed, 0);
    }

    /// Whether the next start will find some of the pending writes, but not all of them.
    pub fn is_torn(&self) -> bool {
        self.found != 0 && self.found != self.pending.len()
    }
}
