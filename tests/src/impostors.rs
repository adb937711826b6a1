//! Servers other than gometa, at addresses where a client expects a node.

use std::{net::SocketAddr, sync::Mutex, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use crate::{
    lock,
    random::{self, Random},
};

/// The number of connections that one of them serves at a time; more wait.
const CONNECTIONS_MAX: usize = 64;
/// The number of random bytes sent at a time.
const NOISE_BYTES: usize = 4 << 10;
/// The time that the HTTP server waits for a request.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Listeners that are no nodes. Dropping them closes them.
pub struct Impostors {
    /// Answers every request with HTTP status 400, and closes the connection.
    pub http: SocketAddr,
    /// Sends random bytes until the connection is closed.
    pub noise: SocketAddr,
    /// Accepts and reads, and sends nothing.
    pub silent: SocketAddr,
    /// An address without a listener.
    pub dead: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Impostors {
    /// Starts all of them on 127.0.0.1.
    pub async fn start() -> Impostors {
        let mut tasks = JoinSet::new();
        let http = listen(&mut tasks, |stream| async move { drop(speak_http(stream).await) }).await;
        let seed = Mutex::new(random::seeded(0x676f_6d65_7461));
        let noise = listen(&mut tasks, move |stream| {
            let number = lock(&seed).word();
            async move { drop(make_noise(stream, random::seeded(number)).await) }
        })
        .await;
        let silent = listen(&mut tasks, |stream| async move { drop(keep_silent(stream).await) }).await;
        // The privileged port of the discard protocol: no process gets it by chance.
        let dead = SocketAddr::from(([127, 0, 0, 1], 9));
        Impostors { http, noise, silent, dead, _tasks: tasks }
    }
}

async fn listen<F: Future<Output = ()> + Send + 'static>(
    tasks: &mut JoinSet<()>,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let opened = async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        std::io::Result::Ok((listener, address))
    };
    let (listener, address) = opened.await.unwrap_or_else(|error| panic!("no free port: {error}"));
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            if connections.len() >= CONNECTIONS_MAX {
                connections.join_next().await;
            }
            if let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
            }
        }
    });
    address
}

async fn speak_http(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let _ = timeout(REQUEST_MAX, stream.read(&mut request)).await;
    let page = "<html><body>this is no node</body></html>\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

async fn make_noise(mut stream: TcpStream, mut random: Random) -> std::io::Result<()> {
    loop {
        let bytes: Vec<u8> = (0..NOISE_BYTES / 8).flat_map(|_| random.word().to_le_bytes()).collect();
        stream.write_all(&bytes).await?;
    }
}

async fn keep_silent(mut stream: TcpStream) -> std::io::Result<()> {
    let mut nowhere = [0; 4096];
    while stream.read(&mut nowhere).await? > 0 {}
    Ok(())
}
