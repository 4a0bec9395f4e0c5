"""The worker: sound and models.

What is set here is read by libraries when they are loaded.
"""

import os

# By default the threads of libgomp, CTranslate2's, wait by spinning. Where other work shares the processors,
# and since requests come from several Python threads, each with a team of its own, that made a 7 s clip take
# 2 to 10 s instead of 0.4 s (2 cores, load 6); asleep they lose nothing that can be measured.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Nothing of ours calls home, and neither may what it is made of: onnxruntime, which runs the VAD, would tell
# Microsoft that it is used, and leave an id of the machine in the home folder; the hub's client would tell versions.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# Compose passes on as empty what is not set. Most of the hub's clients take that for unset; the one for
# Xet storage, hf_xet, takes it for a file's name, and downloads nothing.
if not os.environ.get("SSL_CERT_FILE", "unset"):
    del os.environ["SSL_CERT_FILE"]
