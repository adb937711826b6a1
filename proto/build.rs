//! Compiles the schemas; needs no protoc on the machine. For each message it also generates the *shape* that
//! `src/check.rs` walks by: which of its fields are messages, and which can repeat.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    error::Error,
    fmt::Write,
    fs,
    path::PathBuf,
};

const SCHEMAS: [&str; 5] = [
    "gometa/v1/command.proto",
    "gometa/v1/election.proto",
    "gometa/v1/error.proto",
    "gometa/v1/peer.proto",
    "gometa/v1/request.proto",
];

/// A field that matters for a shape.
struct Field {
    number: i32,
    repeated: bool,
    /// The message type it holds, or the scalar's name in the descriptor.
    holds: Result<String, &'static str>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    for schema in SCHEMAS {
        println!("cargo::rerun-if-changed={}", root.join(schema).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let descriptors = protox::compile(SCHEMAS, [&root])?;

    let mut messages: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    for message in descriptors.file.iter().flat_map(|file| &file.message_type) {
        if !message.nested_type.is_empty() {
            return Err(format!("{}: messages inside messages have no shape yet", message.name()).into());
        }
        let mut fields = Vec::new();
        for field in &message.field {
            let holds = match field.r#type().as_str_name() {
                "TYPE_MESSAGE" => {
                    let name = field
                        .type_name()
                        .strip_prefix(".gometa.v1.")
                        .ok_or("a message of another package")?;
                    Ok(name.to_owned())
                }
                scalar => Err(scalar),
            };
            let repeated = field.label().as_str_name() == "LABEL_REPEATED";
            if repeated || holds.is_ok() {
                fields.push(Field { number: field.number(), repeated, holds });
            }
        }
        fields.sort_by_key(|field| field.number);
        messages.insert(message.name().to_owned(), fields);
    }
    fs::write(out.join("shapes.rs"), shapes(&messages)?)?;

    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}

/// The source of the shapes. A message that contains itself would be a constant that contains itself, which
/// does not compile: so every shape is finite, and the walk needs no bound on depth.
fn shapes(messages: &BTreeMap<String, Vec<Field>>) -> Result<String, Box<dyn Error>> {
    // Messages that hold a repeated field, themselves or further down.
    let mut deep: BTreeSet<&str> = BTreeSet::new();
    loop {
        let before = deep.len();
        for (name, fields) in messages {
            if fields
                .iter()
                .any(|f| f.repeated || f.holds.as_ref().is_ok_and(|held| deep.contains(held.as_str())))
            {
                deep.insert(name);
            }
        }
        if deep.len() == before {
            break;
        }
    }
    let mut source = String::new();
    for (name, fields) in messages {
        let repeats = deep.contains(name.as_str());
        write!(source, "impl Shaped for crate::v1::{name} {{ const SHAPE: &'static Shape = ")?;
        write!(source, "&Shape {{ repeats: {repeats}, fields: &[")?;
        for Field { number, repeated, holds } in fields {
            let field = match (holds, repeated) {
                (Ok(held), true) => format!("Elements(<crate::v1::{held} as Shaped>::SHAPE)"),
                (Ok(held), false) => format!("Message(<crate::v1::{held} as Shaped>::SHAPE)"),
                (Err("TYPE_BYTES" | "TYPE_STRING"), _) => "Elements(&Shape::EMPTY)".to_owned(),
                (Err("TYPE_FIXED64" | "TYPE_SFIXED64" | "TYPE_DOUBLE"), _) => "Fixed(8)".to_owned(),
                (Err("TYPE_FIXED32" | "TYPE_SFIXED32" | "TYPE_FLOAT"), _) => "Fixed(4)".to_owned(),
                (Err(_), _) => "Varints".to_owned(),
            };
            write!(source, "({number}, Field::{field}), ")?;
        }
        writeln!(source, "] }}; }}")?;
    }
    Ok(source)
}
