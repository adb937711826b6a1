//! Programs in other directories build with the products of `make install`: in C, C++ and Go, with pkg-config and CMake,
//! with the shared and the static library, also from a prefix that was moved after the installation.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use gometa_tests::{ensemble::Ensemble, program::program};

use crate::c_client::{must, root, run};

const RUN_MAX: Duration = Duration::from_secs(60);

/// A program that writes a key and reads it back.
const PROGRAM_IN_C: &str = r#"#include <gometa.h>
#include <stdio.h>
#include <string.h>

int main(int count, char **arguments)
{
    gometa_client_t *client = NULL;
    gometa_entry_t *entry = NULL;
    gometa_error_t *error = NULL;
    size_t length = 0;
    if (count != 3) {
        return 2;
    }
    if (gometa_client_new(arguments[1], NULL, &client, &error) != GOMETA_OK ||
        gometa_client_set(client, arguments[2], strlen(arguments[2]), "here", 4, NULL, &error) != GOMETA_OK ||
        gometa_client_get(client, arguments[2], strlen(arguments[2]), &entry, &error) != GOMETA_OK) {
        fprintf(stderr, "%s\n", gometa_error_message(error));
        return 1;
    }
    const uint8_t *value = gometa_entry_value(entry, &length);
    printf("%.*s\n", (int)length, (const char *)value);
    gometa_entry_free(entry);
    gometa_client_free(client);
    return 0;
}
"#;

const PROGRAM_IN_CXX: &str = r#"#include <gometa.h>
#include <iostream>
#include <memory>
#include <string>

int main(int count, char **arguments)
{
    if (count != 3) {
        return 2;
    }
    const std::string key = arguments[2], value = "here";
    gometa_client_t *made = nullptr;
    gometa_entry_t *read = nullptr;
    if (gometa_client_new(arguments[1], nullptr, &made, nullptr) != GOMETA_OK) {
        return 1;
    }
    const std::unique_ptr<gometa_client_t, decltype(&gometa_client_free)> client(made, gometa_client_free);
    gometa_status_t status =
        gometa_client_set(client.get(), key.data(), key.size(), value.data(), value.size(), nullptr, nullptr);
    if (status == GOMETA_OK) {
        status = gometa_client_get(client.get(), key.data(), key.size(), &read, nullptr);
    }
    if (status != GOMETA_OK) {
        std::cerr << gometa_status_name(status) << std::endl;
        return 1;
    }
    const std::unique_ptr<gometa_entry_t, decltype(&gometa_entry_free)> entry(read, gometa_entry_free);
    std::size_t length = 0;
    const auto *bytes = reinterpret_cast<const char *>(gometa_entry_value(entry.get(), &length));
    std::cout << std::string(bytes, length) << std::endl;
    return 0;
}
"#;

const PROGRAM_IN_CGO: &str = r#"package main

// #cgo !gometa_static pkg-config: gometa
// #cgo gometa_static pkg-config: gometa-static
// #include <stdlib.h>
// #include <gometa.h>
import "C"

import (
	"fmt"
	"os"
	"unsafe"
)

func main() {
	peers, key := C.CString(os.Args[1]), C.CString(os.Args[2])
	defer C.free(unsafe.Pointer(peers))
	defer C.free(unsafe.Pointer(key))
	var client *C.gometa_client_t
	if C.gometa_client_new(peers, nil, &client, nil) != C.GOMETA_OK {
		os.Exit(1)
	}
	defer C.gometa_client_free(client)
	name, value := unsafe.Pointer(key), []byte("here")
	length := C.size_t(len(os.Args[2]))
	if C.gometa_client_set(client, name, length, unsafe.Pointer(&value[0]), 4, nil, nil) != C.GOMETA_OK {
		os.Exit(1)
	}
	var entry *C.gometa_entry_t
	if C.gometa_client_get(client, name, length, &entry, nil) != C.GOMETA_OK {
		os.Exit(1)
	}
	defer C.gometa_entry_free(entry)
	var count C.size_t
	read := C.gometa_entry_value(entry, &count)
	fmt.Println(C.GoStringN((*C.char)(unsafe.Pointer(read)), C.int(count)))
}
"#;

const PROGRAM_IN_GO: &str = r#"package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"gometa"
)

func main() {
	client, err := gometa.New(os.Args[1:2])
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Set(context.Background(), os.Args[2], []byte("here")); err != nil {
		log.Fatal(err)
	}
	entry, err := client.Get(context.Background(), os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", entry.Value)
}
"#;

const CMAKE_PROJECT: &str = r#"cmake_minimum_required(VERSION 3.13)
project(hello C CXX)
find_package(gometa 99 QUIET)
if(gometa_FOUND)
  message(FATAL_ERROR "there is no version 99 of gometa yet")
endif()
find_package(gometa @VERSION@ EXACT REQUIRED)
find_package(gometa REQUIRED)
set(CMAKE_C_STANDARD 99)
set(CMAKE_CXX_STANDARD 17)
add_executable(c-shared hello.c)
target_link_libraries(c-shared PRIVATE gometa::gometa)
add_executable(c-static hello.c)
target_link_libraries(c-static PRIVATE gometa::gometa-static)
add_executable(cxx-shared hello.cc)
target_link_libraries(cxx-shared PRIVATE gometa::gometa)
add_executable(cxx-static hello.cc)
target_link_libraries(cxx-static PRIVATE gometa::gometa-static)
"#;

/// Returns cargo's target directory.
fn target() -> PathBuf {
    program("libgometa.so").parent().and_then(Path::parent).unwrap().to_path_buf()
}

fn install(arguments: &[&str]) {
    let mut command = Command::new("python3");
    command.arg("-B").arg(root().join("scripts/install.py")).args(["--library", "--target"]).arg(target());
    must(command.args(arguments));
}

/// An installation.
struct Installed {
    prefix: PathBuf,
    libraries: PathBuf,
}

impl Installed {
    /// Returns a command with the environment of a user of the library.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("PKG_CONFIG_PATH", self.libraries.join("pkgconfig"));
        command.env("CMAKE_PREFIX_PATH", &self.prefix).env("LD_LIBRARY_PATH", &self.libraries);
        // Go downloads nothing, and writes below the target directory only. The key of its cache has the flags,
        // but not the output of pkg-config, so each installation needs a flag of its own.
        command.env("CGO_LDFLAGS", format!("-O2 -g -Wl,-rpath,{}", self.libraries.display()));
        command.env("GOCACHE", target().join("clients/go-cache")).env("GOFLAGS", "-buildvcs=false");
        command.env("GOPROXY", "off").env("GOTOOLCHAIN", "local").env("GOWORK", "off");
        command
    }

    fn pkg_config(&self, arguments: &[&str]) -> Vec<String> {
        let said = must(self.command("pkg-config").args(arguments));
        said.split_whitespace().map(str::to_owned).collect()
    }
}

/// Whether a program needs the shared library.
fn asks_for_the_library(program: &Path) -> bool {
    let asked = must(Command::new("readelf").arg("-d").arg(program));
    let asks = asked.contains("Shared library: [libgometa.so.0]");
    assert_eq!(asks, asked.contains("libgometa"), "{asked}");
    asks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_elsewhere_build_from_what_is_installed_and_run() {
    let ensemble = Ensemble::start(3).await;
    let peers = ensemble.requests_from(0).join(",");
    let stage = ensemble.scratch().join("stage");
    install(&["--destdir", stage.to_str().unwrap(), "--prefix", "/opt/gometa"]);
    // A second installation replaces the first one.
    install(&["--destdir", stage.to_str().unwrap(), "--prefix", "/opt/gometa"]);
    let prefix = ensemble.scratch().join("moved");
    fs::rename(stage.join("opt/gometa"), &prefix).unwrap();
    let installed = Installed { libraries: prefix.join("lib"), prefix };
    let version = installed.pkg_config(&["--modversion", "gometa"]).remove(0);
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    files_are_where_they_belong(&installed, &version);

    let home = home_with_sources(ensemble.scratch());
    let mut programs = by_pkg_config(&installed, &home);
    programs.extend(by_cmake(&installed, &home));
    programs.extend(by_go(&installed, &home));
    assert_eq!(programs.len(), 14);
    for (program, shared) in &programs {
        assert_eq!(asks_for_the_library(program), *shared, "{}", program.display());
        let name = program.file_name().unwrap().to_str().unwrap();
        let mut command = Command::new(program);
        command.arg(&peers).arg(format!("install/{name}"));
        // A static program runs after the library is removed.
        let library = if *shared { &installed.libraries } else { &home };
        assert_eq!(run(command, library, "", RUN_MAX).await, "here\n", "{name}");
    }
}

/// Creates a directory with the programs and the CMake project.
fn home_with_sources(scratch: &Path) -> PathBuf {
    let home = scratch.join("home");
    fs::create_dir(&home).unwrap();
    let project = CMAKE_PROJECT.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    for (name, text) in
        [("hello.c", PROGRAM_IN_C), ("hello.cc", PROGRAM_IN_CXX), ("CMakeLists.txt", &project)]
    {
        fs::write(home.join(name), text).unwrap();
    }
    home
}

fn files_are_where_they_belong(installed: &Installed, version: &str) {
    let libraries = &installed.libraries;
    let leads_to = |name: &str| fs::read_link(libraries.join(name)).unwrap();
    assert_eq!(leads_to("libgometa.so"), Path::new("libgometa.so.0"));
    assert_eq!(leads_to("libgometa.so.0"), Path::new(&format!("libgometa.so.{version}")));
    let library = libraries.join(format!("libgometa.so.{version}"));
    assert!(
        must(Command::new("readelf").arg("-d").arg(library)).contains("Library soname: [libgometa.so.0]")
    );
    assert_eq!(
        fs::read(installed.prefix.join("include/gometa.h")).unwrap(),
        fs::read(root().join("include/gometa.h")).unwrap()
    );
    let names = |directory: &Path| {
        let found = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            found.map(|found| found.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    };
    // No temporary files are left, and no file contains the first prefix.
    let full = format!("libgometa.so.{version}");
    let mut expected = ["cmake", "libgometa.a", "libgometa.so", "libgometa.so.0", &full, "pkgconfig"];
    expected.sort_unstable();
    assert_eq!(names(libraries), expected);
    for directory in ["pkgconfig", "cmake/gometa"] {
        for name in names(&libraries.join(directory)) {
            let text = fs::read_to_string(libraries.join(directory).join(&name)).unwrap();
            assert!(!text.contains("/opt/") && !text.contains('@'), "{name}: {text}");
        }
    }
}

/// Programs, and whether each needs the shared library.
fn by_pkg_config(installed: &Installed, home: &Path) -> Vec<(PathBuf, bool)> {
    let mut made = Vec::new();
    for (language, compiler, source, standard) in
        [("c", "cc", "hello.c", "-std=c99"), ("cxx", "c++", "hello.cc", "-std=c++17")]
    {
        // Shared; libgometa static and the system shared; everything static.
        for (linkage, flags, static_too) in [
            ("shared", vec!["--cflags", "--libs", "gometa"], false),
            ("static", vec!["--cflags", "--libs", "gometa-static"], false),
            ("all-static", vec!["--static", "--cflags", "--libs", "gometa"], true),
        ] {
            let program = home.join(format!("{language}-{linkage}-by-pkg-config"));
            let mut command = installed.command(compiler);
            command.args([standard, "-Wall", "-Wextra", "-Wpedantic", "-O1"]).arg(home.join(source));
            command.args(static_too.then_some("-static")).args(installed.pkg_config(&flags));
            must(command.arg("-o").arg(&program));
            made.push((program, linkage == "shared"));
        }
    }
    made
}

fn by_cmake(installed: &Installed, home: &Path) -> Vec<(PathBuf, bool)> {
    let build = home.join("by-cmake");
    must(installed.command("cmake").arg("-S").arg(home).arg("-B").arg(&build));
    must(installed.command("cmake").arg("--build").arg(&build));
    let names = ["c-shared", "c-static", "cxx-shared", "cxx-static"];
    names.iter().map(|name| (build.join(name), name.ends_with("shared"))).collect()
}

fn by_go(installed: &Installed, home: &Path) -> Vec<(PathBuf, bool)> {
    let mut made = Vec::new();
    let package = format!("require gometa v0.0.0\n\nreplace gometa => {}\n", root().join("go").display());
    for (name, program, module) in [("cgo", PROGRAM_IN_CGO, String::new()), ("go", PROGRAM_IN_GO, package)] {
        let directory = home.join(format!("by-{name}"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("main.go"), program).unwrap();
        fs::write(directory.join("go.mod"), format!("module hello\n\ngo 1.19\n\n{module}")).unwrap();
        for (linkage, tags) in [("shared", ""), ("static", "gometa_static")] {
            let program = directory.join(format!("{name}-{linkage}"));
            let mut command = installed.command("go");
            command.current_dir(&directory).args(["build", "-tags", tags, "-o"]);
            must(command.arg(&program).arg("."));
            made.push((program, linkage == "shared"));
        }
    }
    made
}

#[test]
fn libraries_may_be_installed_where_a_distribution_has_them() {
    let scratch = tempfile::tempdir().unwrap();
    let prefix = scratch.path().join("usr");
    let libraries = prefix.join("lib/x86_64-linux-gnu");
    install(&["--prefix", prefix.to_str().unwrap(), "--libdir", libraries.to_str().unwrap()]);
    let installed = Installed { prefix, libraries };
    let home = home_with_sources(scratch.path());
    by_pkg_config(&installed, &home);
    let cmake = installed.libraries.join("cmake/gometa");
    let build = home.join("by-cmake");
    let found = format!("-Dgometa_DIR={}", cmake.display());
    must(installed.command("cmake").arg(found).arg("-S").arg(&home).arg("-B").arg(&build));
    must(installed.command("cmake").arg("--build").arg(&build));

    // A partial installation reports what is missing.
    fs::remove_file(installed.libraries.join("libgometa.a")).unwrap();
    let again = home.join("again");
    let found = format!("-Dgometa_DIR={}", cmake.display());
    let output =
        installed.command("cmake").arg(found).arg("-S").arg(&home).arg("-B").arg(again).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).replace(['\n', ' '], "");
    assert!(!output.status.success() && said.contains("libgometa.aismissing"), "{said}");
}
