//! Compiles the schemas; needs no protoc on the machine. A build with `--cfg gometa_next_level` adds what its further feature
//! level has. For each message it also generates the *shape* that
//! `src/check.rs` walks by: which of its fields are messages, and which can repeat.

use std::{env, error::Error, fs, path::PathBuf};

use protox::prost_reflect::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

const SCHEMAS: [&str; 6] = [
    "gometa/v1/command.proto",
    "gometa/v1/election.proto",
    "gometa/v1/error.proto",
    "gometa/v1/peer.proto",
    "gometa/v1/request.proto",
    "gometa/v1/snapshot.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    for schema in SCHEMAS {
        println!("cargo::rerun-if-changed={}", root.join(schema).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let mut descriptors = protox::compile(SCHEMAS, [&root])?;
    if env::var_os("CARGO_CFG_GOMETA_NEXT_LEVEL").is_some() {
        add_next_level(&mut descriptors)?;
    }

    let messages = descriptors.file.iter().flat_map(|file| &file.message_type);
    let shapes: Vec<String> = messages.map(shape).collect::<Result<_, _>>()?;
    fs::write(out.join("shapes.rs"), shapes.concat())?;

    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}

/// The first number of the fields that the further level of test builds adds.
const NEXT_LEVEL_FIELDS: i32 = 1_000;

/// Adds the further level of test builds to the schemas: the request Append, and a field of the records of keys.
fn add_next_level(descriptors: &mut FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    let field = |name: &str, number: i32, kind: Type| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    };
    let append = DescriptorProto {
        name: Some("Append".to_owned()),
        field: vec![field("key", 1, Type::Bytes), field("value", 2, Type::Bytes)],
        ..DescriptorProto::default()
    };
    let operation = FieldDescriptorProto {
        type_name: Some(".gometa.v1.Append".to_owned()),
        oneof_index: Some(0),
        ..field("append", NEXT_LEVEL_FIELDS, Type::Message)
    };
    for file in &mut descriptors.file {
        // It knows nothing of what is added.
        file.source_code_info = None;
        let has_request = file.message_type.iter().any(|message| message.name() == "Request");
        for message in &mut file.message_type {
            match message.name() {
                "Request" if message.oneof_decl.len() != 1 => return Err("Request has another oneof".into()),
                "Request" => message.field.push(operation.clone()),
                "KeyRecord" => message.field.push(field("level", NEXT_LEVEL_FIELDS, Type::Uint32)),
                _ => {}
            }
        }
        if has_request {
            file.message_type.push(append.clone());
        }
    }
    Ok(())
}

/// The source of a message's shape. A message that contains itself would be a constant that contains itself, which
/// does not compile: so every shape is finite, and the walk needs no bound on depth.
fn shape(message: &DescriptorProto) -> Result<String, String> {
    let name = message.name();
    if !message.nested_type.is_empty() {
        return Err(format!("{name}: messages inside messages have no shape yet"));
    }
    let mut fields = String::new();
    for field in &message.field {
        let held = || match field.type_name().strip_prefix(".gometa.v1.") {
            Some(held) => Ok(format!("<crate::v1::{held} as Shaped>::SHAPE")),
            None => Err(format!("{name}: a message of another package")),
        };
        let repeated = field.label().as_str_name() == "LABEL_REPEATED";
        let shape = match (field.r#type().as_str_name(), repeated) {
            ("TYPE_MESSAGE", true) => format!("Elements({})", held()?),
            ("TYPE_MESSAGE", false) => format!("Message({})", held()?),
            (_, false) => continue,
            ("TYPE_BYTES" | "TYPE_STRING", true) => "Elements(&Shape::new(&[]))".to_owned(),
            ("TYPE_FIXED64" | "TYPE_SFIXED64" | "TYPE_DOUBLE", true) => "Fixed(8)".to_owned(),
            ("TYPE_FIXED32" | "TYPE_SFIXED32" | "TYPE_FLOAT", true) => "Fixed(4)".to_owned(),
            (_, true) => "Varints".to_owned(),
        };
        fields += &format!("({}, Field::{shape}), ", field.number());
    }
    let shape = format!("const SHAPE: &'static Shape = &Shape::new(&[{fields}]);");
    Ok(format!("impl Shaped for crate::v1::{name} {{ {shape} }}\n"))
}
