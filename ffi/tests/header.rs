//! include/gometa.h is generated from this crate. `UPDATE_HEADER=1 cargo test …` updates it.

use std::{env, fs, path::Path};

#[test]
fn the_header_is_fresh() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_src(here.join("src/lib.rs")).with_config(config).generate();
    let mut made = Vec::new();
    bindings.unwrap().write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let path = here.join("../include/gometa.h");
    if env::var_os("UPDATE_HEADER").is_some_and(|value| !value.is_empty()) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let wide = made.lines().find(|line| line.chars().count() > 120);
    assert_eq!(wide, None, "a line of the header is wider than 120 columns");
    assert!(
        kept == made,
        "include/gometa.h is stale; UPDATE_HEADER=1 cargo test -p gometa-ffi --test header"
    );
}
