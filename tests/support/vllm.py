"""A server in a thread that answers as vLLM documents its pooling API, with any tiny checkpoint.

It knows nothing of Meta Tokens: it reads token ids, or renders a chat's messages by the
checkpoint's chat template, runs the plain transformers model and gives a unit vector a token.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from metaembed_rag.model.backbones import load_model, tokenizer_of
from tests.support.servers import FakeServer

_KNOWN = {"model", "task", "encoding_format", "input", "messages", "add_generation_prompt"}


class VllmServer(FakeServer):
    """Answers /v1/models, /tokenize and /pooling."""

    def __init__(self, folder: Path) -> None:
        self.model, self.processor = load_model(str(folder), hub={"local_files_only": True})
        self.tokenizer: Any = tokenizer_of(self.processor)
        self.has_tokenize = True
        super().__init__()
        self.models = [
            {"id": "org/metaembed", "object": "model", "root": "org/metaembed", "max_model_len": 99}
        ]

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], str]:
        self.requests.append({"path": path, **body})
        if self.failures:
            return self.failures.pop(0)
        if path == "/tokenize":
            return self._tokenize(body)
        if unknown := set(body) - _KNOWN:
            return 400, {}, json.dumps({"error": {"message": f"unknown {sorted(unknown)}"}})
        if body.get("messages"):
            found = [self._chat(body["messages"], body.get("add_generation_prompt", False))]
        else:
            found = [self._forward({"input_ids": torch.tensor([ids])}) for ids in body["input"]]
        data = [
            {"index": i, "object": "pooling", "data": one.tolist()} for i, one in enumerate(found)
        ]
        return 200, {}, json.dumps({"object": "list", "model": body["model"], "data": data})

    def _tokenize(self, body: dict[str, Any]) -> tuple[int, dict[str, str], str]:
        if not self.has_tokenize:
            return 404, {}, json.dumps({"detail": "Not Found"})
        ids = self.tokenizer(body["prompt"], add_special_tokens=body["add_special_tokens"])
        tokens = list(ids["input_ids"])
        return 200, {}, json.dumps({"tokens": tokens, "count": len(tokens), "max_model_len": 99})

    def _chat(self, messages: list[dict[str, Any]], generation: bool) -> torch.Tensor:
        images, shown = [], []
        for message in messages:
            parts = []
            for part in message["content"]:
                if part["type"] == "image_url":
                    data = part["image_url"]["url"].partition("base64,")[2]
                    images.append(Image.open(io.BytesIO(base64.b64decode(data))))
                    parts.append({"type": "image"})
                else:
                    parts.append(part)
            shown.append({**message, "content": parts})
        prompt = self.processor.apply_chat_template(
            shown, tokenize=False, add_generation_prompt=generation
        )
        features = self.processor(
            text=[prompt], images=[images], add_special_tokens=False, return_tensors="pt"
        )
        return self._forward(dict(features))

    @torch.inference_mode()
    def _forward(self, features: dict[str, Any]) -> torch.Tensor:
        """Unit vectors of all tokens, (tokens, D): vLLM's token_embed normalises each."""
        hidden = self.model(**features, use_cache=False).last_hidden_state[0].float()
        return torch.nn.functional.normalize(hidden, dim=-1)
