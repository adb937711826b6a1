//! Single faults: a failing sync, a full disk, errors of reading, a reader beside a deletion.

use std::{
    io,
    sync::{Arc, Mutex},
};

use gometa_log::{
    Directory, File, Log, OpenError, Options, ReadError, Start, Usage, WriteError,
    medium::{Fault, Medium, MediumFile},
};
use gometa_zab::Zxid;

use crate::{
    damage::create,
    model::{entry, hard_state},
};

fn options(salt: u128) -> Options {
    Options { segment_bytes: 4_096, salt: salt << 64 }
}

/// After a failed sync the next start finds the batch in the page cache. What it then reports survives a loss of power.
#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn what_is_found_after_a_failed_sync_survives_a_loss_of_power() {
    let (mut found, mut lost) = (0, 0);
    for seed in 0..200 {
        let medium = Medium::new(512, seed);
        let mut log = create(&medium);
        log.append(0, &[entry(1, 1, vec![1; 700])]).expect("the medium is sound");
        log.commit().expect("the medium is sound");
        log.append(0, &[entry(1, 2, vec![2; 700])]).expect("the medium is sound");
        // The write, then the sync.
        medium.fail_at(1, Fault::Fail);
        assert!(matches!(log.commit(), Err(WriteError::Io { .. })));
        assert!(matches!(log.commit(), Err(WriteError::Failed)));
        assert!(matches!(log.append(0, &[]), Err(WriteError::Failed)));
        assert!(matches!(log.sync_mark(), Err(WriteError::Failed)));
        if seed % 2 == 0 {
            medium.kill();
            let end = Log::open(medium.clone(), options(2), 0).expect("the medium is sound").0.last();
            assert_eq!(end, Zxid::new(1, 2), "the page cache has it");
            medium.cut_power(seed);
            let end = Log::open(medium, options(3), 0).expect("the medium is sound").0.last();
            assert_eq!(end, Zxid::new(1, 2), "it was reported");
        } else {
            medium.cut_power(seed);
            match Log::open(medium, options(2), 0).expect("the medium is sound").0.last().counter {
                1 => lost += 1,
                _ => found += 1,
            }
        }
    }
    assert!(found > 0 && lost > 0, "{found} {lost}");
}

#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn a_full_disk_is_no_damage() {
    let medium = Medium::new(512, 1);
    let mut log = create(&medium);
    for counter in 1..6 {
        log.append(0, &[entry(1, counter, vec![1; 300])]).expect("the medium is sound");
        log.commit().expect("the medium is sound");
    }
    drop(log);
    medium.kill();
    let used = |medium: &Medium| medium.files().values().map(Vec::len).sum::<usize>();
    let full = used(&medium);
    // No room at all, not even when the last segment is shortened; then a little; then as much as is needed.
    let mut opened = 0;
    for more in (0..4_096).step_by(256) {
        let medium = medium.copy();
        medium.limit(full - 2_048 + more);
        match Log::open(medium.clone(), options(2), 0) {
            Ok((log, _)) => {
                assert_eq!(log.last(), Zxid::new(1, 5));
                opened += 1;
            }
            Err(OpenError::NoSpace { .. }) => assert_eq!(opened, 0),
            Err(error) => panic!("{error}"),
        }
        medium.kill();
        medium.limit(usize::MAX);
        let (log, recovered) = Log::open(medium, options(3), 0).expect("there is room");
        assert_eq!((log.last(), recovered.base), (Zxid::new(1, 5), Zxid::ZERO));
    }
    assert!((1..16).contains(&opened), "{opened}");
}

#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn a_spare_without_room_is_not_made_and_nothing_fails() {
    let medium = Medium::new(512, 1);
    let mut log = create(&medium);
    medium.limit(medium.files().values().map(Vec::len).sum::<usize>() + 3_000);
    let mut counter = 0;
    while log.status().segments == 1 {
        counter += 1;
        log.append(0, &[entry(1, counter, vec![1; 300])]).expect("the medium is sound");
        log.commit().expect("the next segment is smaller");
        log.maintenance().run().expect("no room is no error");
    }
    assert!(!medium.files().contains_key("spare"));
    assert_eq!(log.last().counter, counter);
}

#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn an_error_of_reading_is_no_damage() {
    let medium = Medium::new(512, 1);
    let mut log = create(&medium);
    log.append(0, &[entry(1, 1, vec![1; 300])]).expect("the medium is sound");
    log.commit().expect("the medium is sound");
    medium.fail_at(0, Fault::FailRead);
    assert!(matches!(log.reader().read(1, 1, 0), Err(ReadError::Io { .. })));
    assert_eq!(log.reader().read(1, 1, 0).expect("once only").len(), 1);
    let (name, bytes) = medium.files().pop_first().expect("there is a segment");
    let at = bytes.windows(300).position(|window| window == [1; 300]).expect("the entry is there");
    medium.flip(&name, at, 1);
    assert!(matches!(log.reader().read(1, 1, 0), Err(ReadError::Damaged { counter: 1, .. })));
    medium.kill();
    medium.fail_at(0, Fault::FailRead);
    assert!(matches!(Log::open(medium, options(2), 0), Err(OpenError::Io { .. })));
}

type Hook = Arc<Mutex<Option<Box<dyn FnMut() + Send>>>>;

/// A medium that calls a hook before the next read.
#[derive(Clone)]
struct Hooked {
    medium: Medium,
    hook: Hook,
}

#[derive(Clone)]
struct HookedFile {
    file: MediumFile,
    hook: Hook,
}

impl Directory for Hooked {
    type File = HookedFile;

    fn describe(&self, name: &str) -> String {
        name.to_owned()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.medium.list()
    }

    fn create(&self, name: &str, usage: Usage) -> io::Result<HookedFile> {
        Ok(HookedFile { file: self.medium.create(name, usage)?, hook: self.hook.clone() })
    }

    fn open(&self, name: &str, usage: Usage) -> io::Result<HookedFile> {
        Ok(HookedFile { file: self.medium.open(name, usage)?, hook: self.hook.clone() })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.medium.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.medium.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.medium.sync()
    }
}

impl File for HookedFile {
    fn block(&self) -> usize {
        self.file.block()
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let hook = self.hook.lock().expect("no panic").take();
        if let Some(mut hook) = hook {
            hook();
        }
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        self.file.allocate(size)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_size(size)
    }
}

/// Between finding an entry and reading it, its segment is deleted, and deleted segments are written again.
#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn a_segment_is_not_overwritten_while_it_is_read() {
    let hook: Hook = Arc::default();
    let directory = Hooked { medium: Medium::new(512, 1), hook: hook.clone() };
    let start = Start {
        base: Zxid::ZERO,
        hard_state: hard_state(0, 0),
        founding: None,
        configuration: bytes::Bytes::new(),
        released: 0,
    };
    let mut log = Log::create(directory, options(1), start).expect("the medium is sound");
    let reader = log.reader();
    let mut append = move |counter: u64, delete: bool| {
        log.append(0, &[entry(1, counter, vec![counter as u8; 300])]).expect("the medium is sound");
        log.commit().expect("the medium is sound");
        if delete {
            log.compact(Zxid::new(1, counter)).expect("the log has it");
            log.maintenance().run().expect("the medium is sound");
        }
    };
    (1..=20).for_each(|counter| append(counter, false));
    *hook.lock().expect("no panic") =
        Some(Box::new(move || (21..=60).for_each(|counter| append(counter, true))));
    let read = reader.read(1, 1, 0).expect("the file that was found is still there");
    assert_eq!(read, [entry(1, 1, vec![1; 300])]);
    assert_eq!(reader.read(1, 1, 0).expect("there is nothing to read"), []);
}
