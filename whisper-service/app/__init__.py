"""The worker: sound and models.

What is set here is read once by libgomp, CTranslate2's threads, when that is first loaded.
"""

import os

# By default its threads wait by spinning. Where other work shares the processors, and since requests
# come from several Python threads, each with a team of its own, that made a 7 s clip take 2 to 10 s
# instead of 0.4 s (2 cores, load 6); asleep they lose nothing that can be measured.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
