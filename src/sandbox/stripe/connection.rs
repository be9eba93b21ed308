//! Connections that can be cut before anything is answered, as a network does.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use poem::{
    Addr,
    http::uri::Scheme,
    listener::Acceptor,
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// All open connections, by who is at the other end.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<HashMap<SocketAddr, Arc<AtomicBool>>>>);

impl Connections {
    /// Nothing more is sent to this client: whatever is answered now is lost, and the connection closes.
    pub(super) fn cut(&self, remote: &RemoteAddr) {
        if let Addr::SocketAddr(address) = &remote.0
            && let Some(is_cut) = self.lock().get(address)
        {
            is_cut.store(true, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Arc<AtomicBool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes connections and remembers them as long as they are open.
pub(super) struct Doorkeeper {
    listener: TcpListener,
    address: SocketAddr,
    connections: Connections,
}

impl Doorkeeper {
    pub(super) fn new(listener: TcpListener, connections: Connections) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { listener, address, connections })
    }
}

impl Acceptor for Doorkeeper {
    type Io = Connection;

    fn local_addr(&self) -> Vec<LocalAddr> {
        vec![LocalAddr(self.address.into())]
    }

    async fn accept(&mut self) -> io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        let (stream, remote) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        let is_cut = Arc::new(AtomicBool::new(false));
        self.connections.lock().insert(remote, Arc::clone(&is_cut));
        let connection = Connection { stream, remote, is_cut, connections: self.connections.clone() };
        Ok((connection, LocalAddr(self.address.into()), RemoteAddr(remote.into()), Scheme::HTTP))
    }
}

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    is_cut: Arc<AtomicBool>,
    connections: Connections,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.remote);
    }
}

impl Connection {
    fn check(&self) -> io::Result<()> {
        if self.is_cut.load(Ordering::Relaxed) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
