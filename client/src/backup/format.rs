//! The file of a backup: records, each with a checksum, between a first one that describes the backup and a last one that
//! completes it.
//!
//! ```text
//! "gometa backup\n", u16 version
//! record: u8 kind, u32 length, u32 CRC-32C of kind, length and body, body
//!   kind 1, once, first: the BackupManifest
//!   kind 2: the next bytes of the backup
//!   kind 3, once, last: u64 number of bytes of kind 2, u32 CRC-32C of everything before this record
//! ```
//!
//! Numbers are big endian. Every bit is covered: a flipped bit, a cut, and bytes that follow are found when the file is read.

use std::io::{self, ErrorKind, Read, Write};

use bytes::Bytes;
use gometa_proto::{check, limits, v1};
use prost::Message;

use super::info::BackupInfo;

/// The first bytes of every version.
const MAGIC: &[u8; 14] = b"gometa backup\n";
/// The version of the format, the only one there is.
const VERSION: u16 = 1;
const MANIFEST: u8 = 1;
const DATA: u8 = 2;
const END: u8 = 3;
/// Kind, length and checksum of a record.
const HEAD: usize = 9;
/// The longest body of a record.
const BODY_MAX: usize = 1 << 20;
const END_BODY: usize = 12;

/// What is wrong with the file of a backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// It cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It does not begin as a backup does.
    #[error("it is not a backup of gometa, or its first bytes are damaged")]
    NotABackup,
    /// Another version of the program has written it.
    #[error(
        "it has version {found} of the format, and this program reads version {VERSION}: use the gometa that has written it"
    )]
    OtherVersion {
        /// The version.
        found: u16,
    },
    /// It ends too early.
    #[error("it is cut: it ends at byte {at}, inside the backup; copy it again, or use another backup")]
    Cut {
        /// The number of bytes that it has.
        at: u64,
    },
    /// Its content differs from what was written.
    #[error("it is damaged: {what} in the record at byte {at}; copy it again, or use another backup")]
    Damaged {
        /// The position of the record.
        at: u64,
        /// The damage.
        what: &'static str,
    },
}

/// Writes the file of a backup.
#[derive(Debug)]
pub struct BackupWriter<W> {
    output: W,
    /// The length that the manifest says.
    expected: u64,
    data: u64,
    written: u64,
    /// That of everything written.
    crc: u32,
}

impl<W: Write> BackupWriter<W> {
    /// Writes the beginning of a file.
    ///
    /// # Errors
    /// Those of the output.
    pub fn new(output: W, info: &BackupInfo) -> io::Result<Self> {
        let mut writer = BackupWriter { output, expected: info.manifest.length, data: 0, written: 0, crc: 0 };
        writer.put(MAGIC)?;
        writer.put(&VERSION.to_be_bytes())?;
        writer.record(MANIFEST, &info.manifest.encode_to_vec())?;
        Ok(writer)
    }

    /// Writes the next bytes of the backup.
    ///
    /// # Errors
    /// Those of the output, and [`ErrorKind::InvalidInput`] for more bytes than the backup has.
    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        if self.data + data.len() as u64 > self.expected {
            return Err(io::Error::new(ErrorKind::InvalidInput, "more bytes than the backup has"));
        }
        self.data += data.len() as u64;
        data.chunks(BODY_MAX).try_for_each(|part| self.record(DATA, part))
    }

    /// Writes the end of the file, flushes the output, and returns it with the number of bytes of the file.
    ///
    /// # Errors
    /// Those of the output, and [`ErrorKind::InvalidInput`] if bytes are missing.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        if self.data != self.expected {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the backup is not complete"));
        }
        let mut body = [0; END_BODY];
        body[..8].copy_from_slice(&self.data.to_be_bytes());
        body[8..].copy_from_slice(&self.crc.to_be_bytes());
        self.record(END, &body)?;
        self.output.flush()?;
        Ok((self.output, self.written))
    }

    fn record(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_MAX);
        let length = length.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "a record is too long"))?;
        self.put(&head(kind, length, body))?;
        self.put(body)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        self.written += bytes.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        Ok(())
    }
}

fn head(kind: u8, length: u32, body: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[0] = kind;
    head[1..5].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..5]), body);
    head[5..].copy_from_slice(&crc.to_be_bytes());
    head
}

/// Reads the file of a backup, and checks each byte of it.
#[derive(Debug)]
pub struct BackupReader<R> {
    input: R,
    info: BackupInfo,
    data: u64,
    /// The number of bytes read.
    at: u64,
    /// That of everything read.
    crc: u32,
    /// Whether the last record was read.
    complete: bool,
}

impl<R: Read> BackupReader<R> {
    /// Reads the beginning of a file.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn new(input: R) -> Result<Self, FormatError> {
        let info = BackupInfo::default();
        let mut reader = BackupReader { input, info, data: 0, at: 0, crc: 0, complete: false };
        let mut start = [0; MAGIC.len()];
        match reader.fill(&mut start) {
            Ok(()) if start == *MAGIC => {}
            Ok(()) => return Err(FormatError::NotABackup),
            // Not one bit of it is that of a backup.
            Err(FormatError::Cut { at }) if start[..at as usize] != MAGIC[..at as usize] || at == 0 => {
                return Err(FormatError::NotABackup);
            }
            Err(error) => return Err(error),
        }
        let mut version = [0; 2];
        reader.fill(&mut version)?;
        let found = u16::from_be_bytes(version);
        if found != VERSION {
            return Err(FormatError::OtherVersion { found });
        }
        let at = reader.at;
        let (kind, body, _) = reader.record()?;
        if kind != MANIFEST {
            return Err(FormatError::Damaged { at, what: "no description" });
        }
        let manifest = check::check_elements::<v1::BackupManifest>(&body, limits::CLIENT_ELEMENTS_MAX)
            .ok()
            .and_then(|()| v1::BackupManifest::decode(body).ok());
        let manifest = manifest.ok_or(FormatError::Damaged { at, what: "an invalid description" })?;
        reader.info = BackupInfo { manifest };
        Ok(reader)
    }

    /// The description of the backup.
    pub fn info(&self) -> &BackupInfo {
        &self.info
    }

    /// The number of bytes of the file that were read.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next bytes of the backup; `None` after the last ones, when the whole file has been checked.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn read(&mut self) -> Result<Option<Bytes>, FormatError> {
        if self.complete {
            return Ok(None);
        }
        let at = self.at;
        let damaged = |what| FormatError::Damaged { at, what };
        let (kind, body, crc) = self.record()?;
        let length = self.info.manifest.length;
        match kind {
            DATA if body.len() as u64 > length - self.data => Err(damaged("more bytes than the backup has")),
            DATA => {
                self.data += body.len() as u64;
                Ok(Some(body))
            }
            END if body.len() != END_BODY || self.data != length => Err(damaged("an early end")),
            END if body[..8] != length.to_be_bytes() || body[8..] != crc.to_be_bytes() => {
                Err(damaged("another checksum than that of the file"))
            }
            END => {
                self.complete = true;
                match self.input.read(&mut [0]) {
                    Ok(0) => Ok(None),
                    Ok(_) => Err(FormatError::Damaged { at: self.at, what: "bytes after the end" }),
                    Err(error) => Err(error.into()),
                }
            }
            _ => Err(damaged("an unknown kind")),
        }
    }

    /// The kind and the body of the next record, and the checksum of everything before it.
    fn record(&mut self) -> Result<(u8, Bytes, u32), FormatError> {
        let (at, crc) = (self.at, self.crc);
        let mut found = [0; HEAD];
        self.fill(&mut found)?;
        let [kind, a, b, c, d, ..] = found;
        let length = u32::from_be_bytes([a, b, c, d]);
        if length as usize > BODY_MAX {
            return Err(FormatError::Damaged { at, what: "an impossible length" });
        }
        let mut body = vec![0; length as usize];
        self.fill(&mut body)?;
        if head(kind, length, &body) != found {
            return Err(FormatError::Damaged { at, what: "a wrong checksum" });
        }
        Ok((kind, body.into(), crc))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), FormatError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.input.read(&mut bytes[filled..]) {
                Ok(0) => return Err(FormatError::Cut { at: self.at + filled as u64 }),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.at += bytes.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        Ok(())
    }
}

/// Reads the whole file of a backup, and checks each byte. Returns its description and its length in bytes.
///
/// # Errors
/// [`FormatError`].
pub fn verify_backup(input: impl Read) -> Result<(BackupInfo, u64), FormatError> {
    let mut reader = BackupReader::new(input)?;
    while reader.read()?.is_some() {}
    Ok((reader.info, reader.at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(length: u64) -> v1::BackupManifest {
        let members = vec![v1::MemberRecord { node: 7, votes: true, ..v1::MemberRecord::default() }];
        v1::BackupManifest {
            id: 3,
            revision: 900,
            keys: 12,
            length,
            members,
            ..v1::BackupManifest::default()
        }
    }

    fn file(data: &[u8], part: usize) -> Vec<u8> {
        let info = BackupInfo { manifest: manifest(data.len() as u64) };
        let mut writer = BackupWriter::new(Vec::new(), &info).unwrap();
        data.chunks(part).for_each(|part| writer.write(part).unwrap());
        let (file, length) = writer.finish().unwrap();
        assert_eq!(file.len() as u64, length);
        file
    }

    /// Reproducible numbers, well mixed.
    fn numbers(mut seed: u64) -> impl FnMut() -> u64 {
        move || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^ (mixed >> 27)
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let data: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_be_bytes()[3]).collect();
        for part in [1 << 10, 1 << 18, 3 << 20] {
            let file = file(&data, part);
            let mut reader = BackupReader::new(&*file).unwrap();
            assert_eq!(reader.info().revision(), 900);
            let mut read = Vec::new();
            while let Some(part) = reader.read().unwrap() {
                read.extend_from_slice(&part);
            }
            assert!(read == data && reader.position() == file.len() as u64);
            assert!(matches!(reader.read(), Ok(None)));
        }
        assert!(verify_backup(&*file(b"", 1)).is_ok());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_small_file_are_found() {
        let file = file(b"the bytes of a backup", 8);
        assert!(verify_backup(&*file).is_ok());
        for at in 0..file.len() {
            assert!(verify_backup(&file[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                assert!(verify_backup(&*damaged).is_err(), "bit {bit} of byte {at}");
            }
        }
        let mut longer = file.clone();
        longer.push(0);
        assert!(matches!(verify_backup(&*longer), Err(FormatError::Damaged { .. })));
        let twice = [&*file, &*file].concat();
        assert!(verify_backup(&*twice).is_err());
    }

    #[test]
    fn random_flipped_bits_and_cuts_of_a_large_file_are_found() {
        let mut number = numbers(1);
        let data: Vec<u8> = (0..2_000_000).map(|_| number() as u8).collect();
        let mut file = file(&data, 1 << 18);
        for _ in 0..200 {
            let bit = (number() % (file.len() as u64 * 8)) as usize;
            file[bit / 8] ^= 1 << (bit % 8);
            assert!(verify_backup(&*file).is_err(), "bit {bit}");
            file[bit / 8] ^= 1 << (bit % 8);
            let cut = (number() % file.len() as u64) as usize;
            assert!(verify_backup(&file[..cut]).is_err(), "cut at {cut}");
        }
        assert!(verify_backup(&*file).is_ok());
    }

    #[test]
    fn records_that_are_left_out_repeated_or_exchanged_are_found() {
        let file = file(b"aaaabbbbcccc", 4);
        let record = HEAD + 4;
        let end = file.len() - HEAD - END_BODY;
        let first = end - 3 * record;
        let at = |index: usize| &file[first + index * record..first + (index + 1) * record];
        for records in [vec![0, 2], vec![0, 1, 1], vec![1, 0, 2], vec![0, 1, 2, 2], vec![]] {
            let middle: Vec<u8> = records.iter().flat_map(|index| at(*index).to_vec()).collect();
            let changed = [&file[..first], &middle, &file[end..]].concat();
            assert!(verify_backup(&*changed).is_err(), "{records:?}");
        }
    }

    #[test]
    fn other_files_and_other_versions_are_told_apart() {
        for other in [&b""[..], b"{\"key\":\"a\"}", b"gometa data directory\nformat 4\n", &[0; 100]] {
            assert!(matches!(verify_backup(other), Err(FormatError::NotABackup)), "{other:?}");
        }
        let mut file = file(b"data", 4);
        file[MAGIC.len() + 1] = 2;
        assert!(matches!(verify_backup(&*file), Err(FormatError::OtherVersion { found: 2 })));
        assert!(matches!(verify_backup(&file[..10]), Err(FormatError::Cut { at: 10 })));
    }

    #[test]
    fn a_writer_refuses_another_length_than_that_of_the_backup() {
        let info = BackupInfo { manifest: manifest(4) };
        let mut writer = BackupWriter::new(Vec::new(), &info).unwrap();
        writer.write(b"abc").unwrap();
        assert!(writer.write(b"de").is_err());
        assert!(writer.finish().is_err());
    }
}
