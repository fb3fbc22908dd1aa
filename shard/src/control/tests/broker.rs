//! A broker that knows two requests, ApiVersions and Metadata, and drops who sends another.

use std::net::SocketAddr;

use bytes::BytesMut;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, BrokerId, MetadataResponse};
use kafka_protocol::protocol::{Encodable, StrBytes};
use tidegate_core::frame::FrameBuffer;
use tidegate_core::header::{RequestHeader, response_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running broker; aborting the task takes it away.
pub(super) struct Broker {
    pub address: SocketAddr,
    pub task: JoinHandle<()>,
}

/// Starts a broker that says the cluster has these brokers.
pub(super) async fn start(brokers: &[(i32, &str, u16)]) -> Broker {
    let brokers = brokers.iter().map(|(id, host, port)| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(*id))
            .with_host(StrBytes::from_string((*host).to_owned()))
            .with_port(i32::from(*port))
    });
    let metadata = MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(StrBytes::from_static_str("a-cluster")));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, metadata.clone()));
        }
    });
    Broker { address, task }
}

async fn serve(mut stream: TcpStream, metadata: MetadataResponse) {
    let mut frames = FrameBuffer::new();
    let mut scratch = vec![0; 4096];
    loop {
        while let Some(frame) = frames.next_frame(1 << 20).unwrap() {
            let Ok(header) = RequestHeader::parse(&frame) else { return };
            let mut body = BytesMut::new();
            match header.api {
                ApiKey::ApiVersions => {
                    let offered = [(ApiKey::ApiVersions, 4), (ApiKey::Metadata, 12)]
                        .map(|(api, max)| ApiVersion::default().with_api_key(api as i16).with_max_version(max));
                    let answer = ApiVersionsResponse::default().with_api_keys(offered.to_vec());
                    answer.encode(&mut body, header.version).unwrap();
                }
                ApiKey::Metadata => metadata.encode(&mut body, header.version).unwrap(),
                _ => return,
            }
            let response = response_frame(header.correlation_id, header.api, header.version, &body);
            stream.write_all(&response).await.unwrap();
        }
        match stream.read(&mut scratch).await {
            Ok(0) | Err(_) => return,
            Ok(read) => frames.extend(&scratch[..read]),
        }
    }
}
