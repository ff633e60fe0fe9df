//! Logging in as Open-Falcon's clients do, and who may ask.

use apiproxy::{Config, Deps};
use reqwest::Method;
use serde_json::{Value, json};
use storage::{Limits, Storage};

use crate::service::NOW;
use crate::world::{World, config, context, write};

async fn world(token_required: bool) -> World {
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("tokens");
    std::fs::write(&token_file, "ops 0123456789abcdef\n").unwrap();
    let storage = Storage::memory(Limits::default());
    write(&storage, &["db-07"], NOW).await;
    let config = Config { token_file, token_required, ..config() };
    World::with(context(), config, Deps::plain(storage.reader())).await
}

const LOGIN: &str = "/api/v1/user/login";

/// A question for hosts that came through a proxy; status and body.
async fn ask(world: &World, path: &str, apitoken: Option<&str>) -> (u16, String) {
    let request = world.request(Method::GET, path).header("x-forwarded-for", "192.0.2.1");
    let request = match apitoken {
        Some(apitoken) => request.header("Apitoken", apitoken),
        None => request,
    };
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_client_logs_in_asks_and_logs_out() {
    let world = world(true).await;
    let hosts = "/api/v1/graph/endpoint?q=db";
    let (status, text) = ask(&world, hosts, None).await;
    assert!(status == 401 && text.starts_with(r#"{"error":""#), "{status} {text}");
    let body = r#"{"name":"ops","password":"0123456789abcdef"}"#;
    let (status, text) = world.change(Method::POST, LOGIN, body).await;
    assert_eq!(status, 200, "{text}");
    let login: Value = serde_json::from_str(&text).unwrap();
    let sig = login["sig"].as_str().unwrap().to_owned();
    assert_eq!(text, format!(r#"{{"sig":"{sig}","name":"ops","admin":true}}"#));
    assert_eq!(sig.len(), 32);

    let apitoken = json!({ "name": "ops", "sig": sig }).to_string();
    assert_eq!(ask(&world, hosts, Some(&apitoken)).await.0, 200);
    let session = "/api/v1/user/auth_session";
    assert_eq!(
        ask(&world, session, Some(&apitoken)).await,
        (200, r#"{"message":"session is valid"}"#.into())
    );
    assert_eq!(ask(&world, "/api/v1/user/logout", Some(&apitoken)).await.0, 200);
    assert_eq!(ask(&world, hosts, Some(&apitoken)).await.0, 401);
    assert_eq!(ask(&world, session, Some(&apitoken)).await.0, 401);
    assert_eq!(ask(&world, hosts, Some(r#"{"name":"ops","sig":"0123456789abcdef"}"#)).await.0, 200);
}

#[tokio::test]
async fn a_form_logs_in_too_and_what_is_wrong_is_told() {
    let world = world(false).await;
    let form = [("name", "ops"), ("password", "0123456789abcdef")];
    let answer = world.request(Method::POST, LOGIN).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    for (body, error) in [
        (r#"{"name":"ops","password":"0123456789abcdeX"}"#, "name or password is wrong"),
        (r#"{"name":"nobody","password":"0123456789abcdef"}"#, "name or password is wrong"),
        (r#"{"name":"ops"}"#, "name or password is blank"),
        ("[", "name or password is blank"),
    ] {
        let answer = world.change(Method::POST, LOGIN, body).await;
        assert_eq!(answer, (400, json!({ "error": error }).to_string()), "{body}");
    }
    assert_eq!(world.metrics().await.value("apiproxy_refused_total", &[]), Some(2.0));
}

#[tokio::test]
async fn where_tokens_are_required_the_prometheus_api_takes_them_too() {
    let (world, open) = (world(true).await, world(false).await);
    let query = "/api/v1/query?query=1";
    let (status, text) = ask(&world, query, None).await;
    assert!(status == 401 && text.contains(r#""status":"error""#), "{status} {text}");
    assert_eq!(ask(&open, query, None).await.0, 200);
    let wrong = Some(r#"{"name":"ops","sig":"0"}"#);
    assert_eq!(ask(&open, query, wrong).await.0, 401, "who shows a name must be it");
    let bearer = world.request(Method::GET, query).header("x-forwarded-for", "192.0.2.1");
    let bearer = bearer.header("authorization", "Bearer 0123456789abcdef").send().await.unwrap();
    assert_eq!(bearer.status(), 200);
    assert_eq!(world.json(query).await["status"], "success", "this machine may");
}
