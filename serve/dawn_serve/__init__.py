"""A server for diffusion language models: one batch that requests of many clients join and leave.

    dawn-serve build/tiny-dream

`scheduler` is the one thread that owns the batch and knows nothing of HTTP; the rest speaks the
shapes that clients expect (OpenAI, Anthropic, Ollama) and is thin over it.
"""
