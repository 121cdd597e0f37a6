"""``python -m vidllm``."""

from vidllm.cli import main

raise SystemExit(main())
