"""Windows of sound to text: what is asked of the model, and what its answers mean.

station.py     a warm model with its queue
plan.py        what one request asked for, defaults filled in
vocabulary.py  tokens: prompts, suppressed ones, text
attempt.py     a window in the queue, and its outcome
step.py        a batch of them on the engine
ladder.py      temperatures: good enough, or the next
listener.py    one request's windows through the queue
passage.py     the seek loop: window after window
look.py        one window that was heard: its segments, and where to go on
sources.py     where a passage's audio comes from
timestamps.py  timestamp tokens to segments
words.py       alignment to words
sentences.py   a segment for each sentence
language.py    votes for the language
doubt.py       reasons to doubt a segment
"""
