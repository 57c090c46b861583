"""For every path that takes a body, one that is answered."""

from typing import Any

CHAT = [{"role": "user", "content": "a"}]
VALID: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "a", "max_tokens": 2},
    "/v1/chat/completions": {"messages": CHAT, "max_tokens": 2},
    "/v1/messages": {"messages": CHAT, "max_tokens": 2},
    "/v1/messages/count_tokens": {"messages": CHAT},
    "/v1/fill": {"template": ["a", 2]},
    "/v1/choose": {"prompt": "a", "choices": ["a", "b"]},
    "/api/chat": {"model": "model", "messages": CHAT, "options": {"num_predict": 2}},
}
