use super::*;

#[tokio::test]
async fn one_connection_too_many_is_refused_and_the_next_may_come_when_one_has_left() {
    let house = House::with(BOUNDS, Duration::from_secs(15), 1);
    let mut first = house.peer().await;
    assert_eq!(first.ask("GET /").await.status, 200);
    assert_eq!(house.peer().await.rest().await, "");
    drop(first);
    soon(async {
        loop {
            let mut next = TcpStream::connect(house.address).await.unwrap();
            // A refused connection may be reset while we write.
            let _ = next.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            let mut byte = [0];
            if matches!(next.read(&mut byte).await, Ok(1)) {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let house = House::start();
    let mut peer = house.peer().await;
    for _ in 0..3 {
        assert_eq!(peer.ask("GET /v1/rule-chains").await.status, 200);
    }
}

#[tokio::test]
async fn the_end_closes_idle_connections_at_once_and_the_port_with_them() {
    let house = House::start();
    let mut idle = house.peer().await;
    idle.ask("GET /").await;
    house.stop.cancel();
    assert_eq!(soon(house.serving).await.unwrap(), 0);
    assert_eq!(idle.rest().await, "");
    assert!(TcpStream::connect(house.address).await.is_err());
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever_for_a_stream() {
    let house = House::start();
    let mut peer = house.peer().await;
    peer.ask("GET /v1/stream?channel=door").await;
    house.stop.cancel();
    assert_eq!(soon(house.serving).await.unwrap(), 1);
    assert_eq!(house.hub.clients(), 0);
}
