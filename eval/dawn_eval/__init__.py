"""Artifacts as models of EleutherAI's lm-evaluation-harness (lm_eval).

    python -m dawn_eval --model dawn --model_args artifact=build/dream,policy=dawn --tasks gsm8k

Everything behind `python -m dawn_eval` is a flag of lm_eval. Its own command knows the models of
its own package only (0.4.13 looks for no entry points), so this one adds `dawn` and goes on there.
In Python importing `dawn_eval.harness` does the same before `lm_eval.simple_evaluate`.

`runner` and `likelihood` know nothing of lm_eval.
"""
