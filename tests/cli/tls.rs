//! A server behind TLS with a certificate of a private CA: trusted when `SSL_CERT_FILE` names the CA,
//! rejected with a reason otherwise.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use crate::support::{
    RUNNER,
    experiment::{Experiment, succeed},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use runner::load::{Connect as _, Outcome, Target};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};

/// The embedded engine on a free port, killed on drop.
struct Engine {
    child: Child,
    address: SocketAddr,
}

impl Engine {
    fn start() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut child = Command::new(RUNNER)
            .args(["sim", "org/model", "--sim-startup", "0s", "--sim-ttft", "5ms"])
            .args(["--sim-per-token", "1ms", "--port", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stdout.take().unwrap());
        let mut lines = log.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("startup complete")));
        // What it says later is nobody's, and must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A CA made for this test, as PEM, and a server's configuration with a certificate that it signed for
/// `localhost`.
fn authority() -> (String, ServerConfig) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    (ca, config)
}

/// Terminates TLS in front of a plain HTTP server.
async fn front(config: ServerConfig, behind: SocketAddr) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.ok()?;
                let mut server = TcpStream::connect(behind).await.ok()?;
                copy_bidirectional(&mut stream, &mut server).await.ok()
            });
        }
    });
    port
}

fn experiment(port: u16) -> Experiment {
    Experiment::new(&format!(
        r#"
[experiment]
name = "tls"
[server]
engine = "openai"
model = "org/model"
launch = {{ on = "attach", url = "https://localhost:{port}" }}
[workload.chat]
synthetic = {{ input_tokens = 20 }}
requests = 6
concurrency = 2
max_tokens = 4
"#
    ))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_trusts_the_ca_in_ssl_cert_file_and_rejects_unknown_ones() {
    let engine = Engine::start();
    let (ca, config) = authority();
    let port = front(config, engine.address).await;
    let url = format!("https://localhost:{port}");

    // One request of a cell, without the CA.
    let refused = match Target::parse(&url).unwrap().connect().await {
        Ok(_) => panic!("an unknown CA was trusted"),
        Err(error) => error,
    };
    assert_eq!(refused.outcome, Outcome::Unreachable);
    assert!(refused.message.starts_with("TLS: "), "{}", refused.message);
    assert!(refused.message.contains("SSL_CERT_FILE"), "{}", refused.message);

    let done = tokio::task::spawn_blocking(move || {
        let trusting = experiment(port);
        fs::write(trusting.path("ca.pem"), ca).unwrap();
        let mut command = trusting.run();
        command.env("SSL_CERT_FILE", trusting.path("ca.pem"));
        succeed(command).unwrap();
        let cells = trusting.cells().unwrap();
        assert_eq!(cells[0]["outcome"], "ok", "{cells:?}");
        assert_eq!(cells[0]["input_tokens"], "120", "counted behind TLS as well");

        let wary = experiment(port);
        let output = wary.run().output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("certificate") && said.contains("SSL_CERT_FILE"), "{said}");
        assert_eq!(wary.cells().unwrap()[0]["outcome"], "server_failed");
    });
    done.await.unwrap();
}
