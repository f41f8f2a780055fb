"""The reference algorithm in torch, run beside ours."""
