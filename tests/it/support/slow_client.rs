//! A client that takes what it is sent when the test says so.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::app::TestApp;

/// A request whose answer is read slowly. The client's buffer is small and stays so: as long as it does not read, a service
/// that has more to say than a few megabytes waits in the middle of its answer.
pub struct SlowClient {
    connection: TcpStream,
    received: Vec<u8>,
}

impl SlowClient {
    /// Asks for something, with the ledger's API key.
    pub async fn get(app: &TestApp, path: &str, media_type: &str) -> Self {
        let address = app.url.strip_prefix("http://").expect("an address").parse().expect("an address");
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16 * 1024).expect("a small buffer");
        let mut connection = socket.connect(address).await.expect("a connection");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nAccept: {media_type}\r\n\r\n",
            app.ledger.api_key
        );
        connection.write_all(request.as_bytes()).await.expect("sent");
        let mut client = Self { connection, received: Vec::new() };
        client.take_until("\r\n\r\n").await;
        assert!(client.received.starts_with(b"HTTP/1.1 200 "), "{}", client.body());
        client
    }

    /// Takes at least so many bytes more.
    pub async fn take(&mut self, bytes: usize) {
        let enough = self.received.len() + bytes;
        while self.received.len() < enough {
            assert!(self.take_some().await > 0, "the answer has ended");
        }
    }

    /// Takes more until something has come, or the answer has ended.
    pub async fn take_until(&mut self, last: &str) {
        let mut looked_at = 0;
        while !self.received[looked_at..].windows(last.len()).any(|bytes| bytes == last.as_bytes()) {
            looked_at = self.received.len().saturating_sub(last.len());
            if self.take_some().await == 0 {
                break;
            }
        }
    }

    /// Takes all that is left of an answer that ends.
    pub async fn take_rest(&mut self) {
        self.take_until("\r\n0\r\n\r\n").await;
    }

    async fn take_some(&mut self) -> usize {
        self.connection.read_buf(&mut self.received).await.expect("a connection")
    }

    /// The body as far as it was taken, without what frames its chunks (RFC 9112, 7.1).
    pub fn body(&self) -> String {
        let text = std::str::from_utf8(&self.received).expect("text");
        let mut framed = text.split_once("\r\n\r\n").expect("a head").1;
        let mut body = String::new();
        while let Some((size, rest)) = framed.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
            let chunk = &rest[..size.min(rest.len())];
            body.push_str(chunk);
            framed = rest[chunk.len()..].strip_prefix("\r\n").unwrap_or_default();
        }
        body
    }
}
