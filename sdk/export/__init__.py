"""Export: an approved release becomes plain files for an engine, and no file leaves that behaves otherwise.

export_settings  the form that is asked for, and whether what it needs is installed
target           where plain weights go, and how they are wiped where they may not stay
matrices         what an adapter adds to each weight, with its true scale
merge            a base with that added, one weight at a time; weight_files writes them
convert          GGUF by llama.cpp's converter; modelfile writes Ollama's
engines          transformers and llama.cpp, asked the same; llama_child is the latter's process
parity           the certificate: what the approved model and the exported one did
export_files     from an admitted package to a folder that can be signed
"""
