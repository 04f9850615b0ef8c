"""Twenty short texts of many kinds, each a prompt (one line) and how it goes on."""

TEXTS = [
    ("The capital of France is", " Paris, which lies on the Seine."),
    ("Once upon a time, in a village by the sea,", " there lived an old woman who could not sleep."),
    ("def fibonacci(n):", "\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\n"),
    ("Water boils at", " 100 degrees Celsius at sea level, and at about 93 on a mountain of 2,000 metres."),
    ("Q: What is 17 times 23? A:", " 17 times 23 is 391, because 17 * 20 = 340 and 17 * 3 = 51."),
    ("Dear Sir or Madam,", "\n\nI am writing to ask for my money back.\n\nYours faithfully,\nA. Customer\n"),
    ("The three laws of motion were", " published by Isaac Newton in 1687."),
    ("Shopping list: milk,", " eggs, flour, two lemons, and something for the cat."),
    ("{\"name\": \"Ada\", \"born\":", " 1815, \"languages\": [\"English\", \"French\"]}"),
    ("Photosynthesis turns light into", " sugar; plants give off the oxygen that is left over."),
    ("To be, or not to be,", " that is the question: whether 'tis nobler in the mind to suffer"),
    ("The quick brown fox", " jumps over the lazy dog again and again and again and again."),
    ("Im Winter ist es", " oft kalt, und die Tage sind kurz."),
    ("La bibliothèque ouvre", " à neuf heures, sauf le dimanche."),
    ("SELECT name, count(*) FROM orders", " GROUP BY name ORDER BY 2 DESC LIMIT 10;"),
    ("The patient complained of", " a headache, a stiff neck and an unusual sensitivity to light."),
    ("I can't believe it's", " not butter, she said, and he didn't know what to answer."),
    ("1, 1, 2, 3, 5, 8,", " 13, 21, 34, 55, 89, 144, 233"),
    ("Roses are red, violets are", " blue, sugar is sweet and so are you."),
    ("The treaty was signed in 1648 after", " thirty years of war, and it is often said that with it the modern state began. "
     "Historians have doubted this for a long time: the documents themselves speak of old rights restored, of "
     "compensation and of religion, and say little about sovereignty. What changed was slower and less tidy."),
]
