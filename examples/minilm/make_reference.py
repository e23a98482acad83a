# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes reference.npz: token ids of 32 sentences and the embeddings of the reference implementation.

The committed reference.npz was made by this script with sentence-transformers 6.2.0, transformers
5.23.0 and torch 2.15.0. It is needed again only to change the sentences:

    pip install sentence-transformers
    python make_reference.py model/ reference.npz

Arrays: ids, mask i32[32, S] (padded to the longest sentence), embeddings f32[32, 384]; and the same
of the first sentence alone, without padding: ids1, mask1, embedding1.
"""
import sys

import numpy as np
import sentence_transformers

SENTENCES = [
    "The cat sleeps on the warm windowsill.",
    "A kitten is napping in the sun by the window.",
    "Dogs need to be walked at least twice a day.",
    "My neighbour takes her two terriers to the park every morning before work.",
    "The central bank raised interest rates by a quarter of a percentage point.",
    "Borrowing became more expensive after the latest decision on monetary policy.",
    "Inflation slowed for the third month in a row.",
    "Shares fell sharply in early trading on Monday.",
    "How do I reverse a linked list in C?",
    "What is the best way to flip the order of nodes in a singly linked list?",
    "The compiler reports an undefined reference to a function at link time.",
    "Why does the linker say that a symbol is missing although the header is included?",
    "A segmentation fault happens when a program reads memory that it does not own.",
    "She baked a sourdough loaf with rye flour and caraway seeds.",
    "Bread made with a natural starter takes about a day from mixing to baking.",
    "Add a pinch of salt to the boiling water before the pasta.",
    "The soup needs more garlic and a little lemon juice.",
    "The telescope photographed a galaxy more than thirteen billion light years away.",
    "Astronomers observed one of the oldest galaxies known so far.",
    "The probe entered orbit around Mars after a journey of seven months.",
    "Jupiter has more than ninety known moons.",
    "Regular exercise lowers the risk of heart disease.",
    "Walking half an hour a day is good for your heart.",
    "The vaccine protects most adults for at least ten years.",
    "He broke his wrist while skiing and could not play the piano for two months.",
    "The orchestra played Beethoven's seventh symphony in a sold-out hall.",
    "Tickets for the concert were gone within minutes.",
    "It rained so hard that the river rose above its banks and flooded the lower part of the "
    "old town, where the shops had to stay closed for the rest of the week.",
    "Heavy rain caused flooding in the town centre.",
    "The train to Vienna leaves from platform nine.",
    "Yes.",
    "Never before had anyone crossed the desert alone, on foot, in the middle of summer.",
]


def main(model_folder, out):
    model = sentence_transformers.SentenceTransformer(model_folder, device="cpu")
    encoded = model.tokenizer(SENTENCES, padding=True, truncation=True, return_tensors="np")
    single = model.tokenizer(SENTENCES[:1], padding=True, truncation=True, return_tensors="np")
    np.savez_compressed(
        out,
        ids=encoded["input_ids"].astype(np.int32),
        mask=encoded["attention_mask"].astype(np.int32),
        embeddings=model.encode(SENTENCES, normalize_embeddings=True, batch_size=len(SENTENCES)),
        ids1=single["input_ids"].astype(np.int32),
        mask1=single["attention_mask"].astype(np.int32),
        embedding1=model.encode(SENTENCES[:1], normalize_embeddings=True),
    )


if __name__ == "__main__":
    assert len(SENTENCES) == 32
    main(*sys.argv[1:3])
