//! An authority and a server certificate for one test, made with the `openssl` program.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Files in PEM form.
pub struct Certificates {
    /// The authority's certificate.
    pub authority: PathBuf,
    /// The server's certificate, for the name `localhost` and for nothing else.
    pub server: PathBuf,
    /// The server's private key.
    pub server_key: PathBuf,
}

/// Makes them in `directory`, by an authority of this name.
pub fn make(directory: &Path, authority: &str) -> Certificates {
    let file = |name: &str| directory.join(name);
    std::fs::write(file("extensions"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .expect("a file");
    let commands = [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=AUTHORITY \
         -keyout authority.key -out authority.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
         -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 1 \
         -extfile extensions -out server.pem",
    ];
    for command in commands.map(|command| command.replace("AUTHORITY", authority)) {
        let arguments = command.split_whitespace();
        let output = Command::new("openssl").args(arguments).current_dir(directory).output();
        let output = output.expect("the openssl program");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Certificates {
        authority: file("authority.pem"),
        server: file("server.pem"),
        server_key: file("server.key"),
    }
}
