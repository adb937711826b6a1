//! A library, loaded before the C library, whose file operations fail or do nothing.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Files whose syncs do nothing and succeed: [`SEGMENTS`] or [`TABLES`].
pub(crate) const SKIP_SYNCS: &str = "GOMETA_TEST_SKIP_SYNCS";
/// "FILES ERRNO N": the write number N to these files fails, once.
pub(crate) const FAIL_WRITE: &str = "GOMETA_TEST_FAIL_WRITE";
/// "FILES ERRNO N": the sync number N of these files fails, once.
pub(crate) const FAIL_SYNC: &str = "GOMETA_TEST_FAIL_SYNC";

/// The operation that fails waits until this file exists.
pub(crate) const FAIL_WHEN: &str = "GOMETA_TEST_FAIL_WHEN";

/// The segments of the log, also those that are being made.
pub(crate) const SEGMENTS: &str = "segments";
/// RocksDB's table files.
pub(crate) const TABLES: &str = "tables";

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_in(int file, const char *files) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 5) return 0;
    path[length] = 0;
    if (strcmp(files, "tables") == 0) return strcmp(path + length - 4, ".sst") == 0;
    return strstr(path, "/log-1/") != NULL && strcmp(path + length - 7, "/SYNCED") != 0;
}

/* The number of the operation that fails, and the counter of those before. */
static int fails(int file, const char *variable, atomic_int *seen) {
    char files[32];
    int error, number;
    const char *value = getenv(variable);
    if (value == NULL || sscanf(value, "%31s %d %d", files, &error, &number) != 3) return 0;
    if (!is_in(file, files) || atomic_fetch_add(seen, 1) + 1 != number) return 0;
    const char *signal = getenv("GOMETA_TEST_FAIL_WHEN");
    while (signal != NULL && access(signal, F_OK) != 0) usleep(1000);
    errno = error;
    return 1;
}

static atomic_int writes, syncs;
#define FAILED_WRITE(file) fails(file, "GOMETA_TEST_FAIL_WRITE", &writes)

ssize_t write(int file, const void *bytes, size_t length) {
    if (FAILED_WRITE(file)) return -1;
    return syscall(SYS_write, file, bytes, length);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) {
    if (FAILED_WRITE(file)) return -1;
    return syscall(SYS_pwrite64, file, bytes, length, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off_t offset) {
    return pwrite(file, bytes, length, offset);
}

static int sync_with(long call, int file) {
    const char *skipped = getenv("GOMETA_TEST_SKIP_SYNCS");
    if (skipped != NULL && is_in(file, skipped)) return 0;
    if (fails(file, "GOMETA_TEST_FAIL_SYNC", &syncs)) return -1;
    return syscall(call, file);
}

int fdatasync(int file) { return sync_with(SYS_fdatasync, file); }
int fsync(int file) { return sync_with(SYS_fsync, file); }
"#;

/// Builds the library in this directory; the reason if there is no C compiler.
pub(crate) fn build(dir: &Path) -> Result<PathBuf, String> {
    let (source, library) = (dir.join("shim.c"), dir.join("shim.so"));
    std::fs::write(&source, SOURCE).map_err(|error| error.to_string())?;
    let flags = ["-shared", "-fPIC", "-O1", "-o"].map(OsStr::new);
    command("cc", &[&flags[..], &[library.as_os_str(), source.as_os_str()]].concat())?;
    Ok(library)
}

/// Runs a program; its error output if it fails.
pub(crate) fn command(program: &str, arguments: &[&OsStr]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
