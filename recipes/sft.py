#!/usr/bin/env python3
"""A few steps of TRL's SFT on a hybrid, on a CPU or a GPU, and the hybrid saved again.

usage: sft.py HYBRID TEXTS.jsonl OUT [STEPS]     TEXTS.jsonl has "messages", or "prompt" and "completion"
"""
import json
import sys

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

hybrid, texts, out = sys.argv[1:4]
steps = int(sys.argv[4]) if len(sys.argv) > 4 else 20
tokenizer = AutoTokenizer.from_pretrained(hybrid)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(hybrid, trust_remote_code=True, dtype=torch.float32)
records = [json.loads(line) for line in open(texts) if line.strip()]
records = [{"prompt": r["prompt"], "completion": r["response"]} if "response" in r else r for r in records]
keep = [key for key in ("messages", "prompt", "completion", "text") if key in records[0]]
data = Dataset.from_list([{key: record[key] for key in keep} for record in records])
settings = SFTConfig(
    output_dir=out, max_steps=steps, per_device_train_batch_size=2, gradient_accumulation_steps=1, learning_rate=1e-4,
    max_length=256, logging_steps=1, save_strategy="no", report_to=[], use_cpu=not torch.cuda.is_available(),
    packing=False, gradient_checkpointing=False, bf16=False,
    router_aux_loss_coef=0.0)  # TRL takes GraniteMoeHybrid for a mixture of experts, also with none
trainer = SFTTrainer(model=model, args=settings, train_dataset=data, processing_class=tokenizer)
trainer.train()
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
print("losses", " ".join(f"{loss:.4f}" for loss in losses))
trainer.save_model(out)
