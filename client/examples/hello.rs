//! The shortest program: writes a key and reads it.
//!
//!     cargo run --release -p gometa-client --example hello
use gometa_client::Client;

#[tokio::main]
async fn main() -> Result<(), gometa_client::Error> {
    let peers = std::env::var("GOMETA_PEERS").ok().filter(|peers| !peers.is_empty());
    let peers = peers.unwrap_or("127.0.0.1:5003".to_owned());
    let client = Client::new([peers])?;
    let written = client.set("greeting", "hello").await?;
    let entry = client.get("greeting").await?;
    assert_eq!(entry.mod_revision, written.revision);
    assert_eq!(entry.value, "hello");
    client.close().await;
    Ok(())
}
