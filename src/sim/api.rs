//! The HTTP API: endpoints, and errors in vLLM's words.

use std::convert::Infallible;

use http_body_util::BodyExt;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    SimArgs,
    answer::Answer,
    clock::Clock,
    fault::FaultPlan,
    response::{Body, full, respond},
    stream::Events,
};
use crate::{engine::tokenizer, manifest::AnswerFault};

pub(super) type Reply = Response<Body>;

/// The `max_tokens` of a completion that states none. As in vLLM, a chat gets all that fits.
const DEFAULT_MAX_TOKENS: u64 = 16;

struct Refusal {
    status: StatusCode,
    kind: &'static str,
    param: Option<&'static str>,
    message: String,
}

impl Refusal {
    fn bad(param: Option<&'static str>, message: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "BadRequestError", param, message }
    }
}

/// Answers one request. Errors are responses too, so it never fails.
pub(super) async fn answer(
    args: &SimArgs,
    clock: &Clock,
    faults: &FaultPlan,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    let (head, body) = request.into_parts();
    let reply = match (head.method, head.uri.path()) {
        (Method::GET, "/health" | "/ping") => full(StatusCode::OK, "text/plain", String::new()),
        (Method::GET, "/version") => json_reply(StatusCode::OK, &json!({"version": version()})),
        (Method::GET, "/v1/models") => json_reply(StatusCode::OK, &models(args)),
        (Method::GET, "/metrics") => {
            full(StatusCode::OK, "text/plain; version=0.0.4", clock.metrics(&args.served[0]))
        }
        (Method::POST, path @ ("/v1/completions" | "/v1/chat/completions" | "/tokenize" | "/detokenize")) => {
            match read_json(body).await {
                Ok(body) if path == "/tokenize" => tokenize(args, &body),
                Ok(body) if path == "/detokenize" => detokenize(args, &body),
                Ok(body) => {
                    let chat = path == "/v1/chat/completions";
                    generate(args, clock, faults, &body, chat).await
                }
                Err(refusal) => Err(refusal),
            }
            .unwrap_or_else(|refusal| refuse(&refusal))
        }
        _ => json_reply(StatusCode::NOT_FOUND, &json!({"detail": "Not Found"})),
    };
    Ok(reply)
}

pub(super) fn version() -> String {
    format!("sim-{}", env!("CARGO_PKG_VERSION"))
}

async fn read_json(body: Incoming) -> Result<Value, Refusal> {
    let bytes = body
        .collect()
        .await
        .map_err(|why| Refusal::bad(None, format!("the body could not be read: {why}")))?
        .to_bytes();
    match serde_json::from_slice(&bytes) {
        Ok(body @ Value::Object(_)) => Ok(body),
        Ok(_) => Err(Refusal::bad(None, "the body is not a JSON object".to_owned())),
        Err(why) => Err(Refusal::bad(None, format!("JSON decode error: {why}"))),
    }
}

async fn generate(
    args: &SimArgs,
    clock: &Clock,
    faults: &FaultPlan,
    body: &Value,
    chat: bool,
) -> Result<Reply, Refusal> {
    let drawn = faults.next();
    match drawn.ending() {
        Some(AnswerFault::HttpError) => {
            return Err(Refusal {
                status: StatusCode::from_u16(faults.http_status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
                kind: "ServerError",
                param: None,
                message: "injected fault (http_error)".to_owned(),
            });
        }
        Some(AnswerFault::Redirect) => {
            let mut reply =
                full(StatusCode::TEMPORARY_REDIRECT, "text/plain", "injected fault (redirect)".to_owned());
            reply.headers_mut().insert(header::LOCATION, header::HeaderValue::from_static("/v1/elsewhere"));
            return Ok(reply);
        }
        _ => {}
    }
    let model = served(args, body)?;
    let prompt = prompt(body, chat)?;
    let prompt_tokens = prompt.len() as u64;
    let limit = args.max_model_len;
    if prompt_tokens >= limit {
        return Err(Refusal::bad(
            Some("input_tokens"),
            format!(
                "This model's maximum context length is {limit} tokens, and the prompt alone has {prompt_tokens}; \
                 shorten the prompt."
            ),
        ));
    }
    let room = limit - prompt_tokens;
    let max_tokens = match whole_number(body, "max_completion_tokens")? {
        Some(n) => n,
        None => match whole_number(body, "max_tokens")? {
            Some(n) => n,
            None if chat => room,
            None => DEFAULT_MAX_TOKENS.min(room),
        },
    };
    if max_tokens == 0 {
        return Err(Refusal::bad(Some("max_tokens"), "max_tokens must be at least 1, got 0.".to_owned()));
    }
    if max_tokens > room {
        return Err(Refusal::bad(
            Some("max_tokens"),
            format!(
                "max_tokens={max_tokens} and a prompt of {prompt_tokens} tokens are together greater than \
                 max_model_len={limit}. Ask for fewer output tokens."
            ),
        ));
    }
    let min_tokens = whole_number(body, "min_tokens")?.unwrap_or_default();
    if min_tokens > max_tokens {
        return Err(Refusal::bad(
            None,
            format!("min_tokens must be less than or equal to max_tokens={max_tokens}, got {min_tokens}."),
        ));
    }
    let output_tokens = if truthy(&body["ignore_eos"]) {
        max_tokens
    } else {
        tokenizer::natural_length(&prompt, args.seed, max_tokens).max(min_tokens)
    };
    let finish = if output_tokens == max_tokens { "length" } else { "stop" };
    let ticket = clock.admit(&prompt, output_tokens, finish == "stop");
    let options = &body["stream_options"];
    let answer = Answer {
        chat,
        id: ticket.number.0,
        model,
        created: Timestamp::now().as_second(),
        prompt_tokens,
        include_usage: truthy(&options["include_usage"]),
        continuous_usage: truthy(&options["continuous_usage_stats"]),
    };
    if truthy(&body["stream"]) && !drawn.has(AnswerFault::Whole) {
        let events = Events::new(answer, finish, ticket, output_tokens, drawn);
        let mut reply = Response::new(Body::Events(Box::new(events)));
        if drawn.has(AnswerFault::Gzip) {
            reply.headers_mut().insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
        }
        reply.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("text/event-stream; charset=utf-8"),
        );
        return Ok(reply);
    }
    Ok(respond(&answer, finish, ticket, output_tokens, drawn).await)
}

fn served(args: &SimArgs, body: &Value) -> Result<String, Refusal> {
    let Some(model) = body["model"].as_str() else {
        return Ok(args.served[0].clone());
    };
    if args.served.iter().any(|name| name == model) {
        return Ok(model.to_owned());
    }
    Err(Refusal {
        status: StatusCode::NOT_FOUND,
        kind: "NotFoundError",
        param: Some("model"),
        message: format!("The model `{model}` does not exist. Valid aliases: {}.", args.served.join(", ")),
    })
}

fn prompt(body: &Value, chat: bool) -> Result<Vec<u64>, Refusal> {
    let tokens = if chat {
        let messages = body["messages"].as_array().ok_or_else(|| {
            Refusal::bad(Some("messages"), "messages must be a list of messages".to_owned())
        })?;
        tokenizer::chat(messages)
    } else {
        match &body["prompt"] {
            Value::String(prompt) => tokenizer::tokenize(prompt),
            Value::Array(items) => match items.as_slice() {
                [Value::String(prompt)] => tokenizer::tokenize(prompt),
                [Value::Array(ids)] => token_ids(ids)?,
                ids => token_ids(ids)?,
            },
            _ => Vec::new(),
        }
    };
    if tokens.is_empty() {
        return Err(Refusal::bad(None, "You must pass at least one prompt".to_owned()));
    }
    Ok(tokens)
}

fn token_ids(ids: &[Value]) -> Result<Vec<u64>, Refusal> {
    ids.iter()
        .map(|id| match id.as_u64() {
            Some(id) if id < tokenizer::VOCABULARY => Ok(id),
            Some(id) => Err(Refusal::bad(None, format!("Token id {id} is out of vocabulary"))),
            None => Err(Refusal::bad(
                Some("prompt"),
                "prompt must be one string or one list of token ids: the embedded engine takes no batch of prompts"
                    .to_owned(),
            )),
        })
        .collect()
}

fn whole_number(body: &Value, key: &'static str) -> Result<Option<u64>, Refusal> {
    match &body[key] {
        Value::Null => Ok(None),
        value => value
            .as_u64()
            .map(Some)
            .ok_or_else(|| Refusal::bad(Some(key), format!("{key} must be a whole number, got {value}"))),
    }
}

fn truthy(value: &Value) -> bool {
    value.as_bool().unwrap_or(false)
}

fn tokenize(args: &SimArgs, body: &Value) -> Result<Reply, Refusal> {
    served(args, body)?;
    let ids = prompt(body, body["messages"].is_array())?;
    let answer =
        json!({"count": ids.len(), "max_model_len": args.max_model_len, "tokens": ids, "token_strs": null});
    Ok(json_reply(StatusCode::OK, &answer))
}

fn detokenize(args: &SimArgs, body: &Value) -> Result<Reply, Refusal> {
    served(args, body)?;
    let ids = body["tokens"]
        .as_array()
        .ok_or_else(|| Refusal::bad(Some("tokens"), "tokens must be a list of token ids".to_owned()))?;
    let text = tokenizer::detokenize(&token_ids(ids)?);
    Ok(json_reply(StatusCode::OK, &json!({ "prompt": text })))
}

fn models(args: &SimArgs) -> Value {
    let data: Vec<Value> = args
        .served
        .iter()
        .map(|name| {
            json!({"id": name, "object": "model", "created": Timestamp::now().as_second(), "owned_by": "runner-sim",
                   "root": args.model, "parent": null, "max_model_len": args.max_model_len})
        })
        .collect();
    json!({"object": "list", "data": data})
}

fn refuse(refusal: &Refusal) -> Reply {
    let error = json!({"message": refusal.message, "type": refusal.kind, "param": refusal.param,
                       "code": refusal.status.as_u16()});
    json_reply(refusal.status, &json!({"error": error}))
}

fn json_reply(status: StatusCode, body: &Value) -> Reply {
    full(status, "application/json", body.to_string())
}
