"""The doctor in other people's loops: `osler.watch` for a plain loop, and callbacks for the frameworks that own theirs.

`watch` is for any loop, in torch or numpy; `for_lightning`, `for_keras` and `for_transformers` hold one callback each, and are
imported without their framework: what lacks it says so when the callback is made.
"""
