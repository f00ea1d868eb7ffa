"""Stepladder: which rung does your problem need, a strong prompt, retrieval, fine-tuning, or both?"""
