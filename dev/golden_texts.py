"""Our own texts for golden files: every length from one word to beyond the limit, many scripts.

Written and composed here, copied from nowhere; the composition is seeded, so that every run
gives the same list.
"""

import random

SUBJECTS = [
    "the courier", "my landlord", "a retired lighthouse keeper", "our billing team",
    "the new espresso machine", "an apprentice baker", "the night bus", "her tablet",
    "the city archive", "a flock of starlings", "the invoice from March", "his left knee",
    "the village choir", "a broken dishwasher", "the research ferry", "our youngest cousin",
]
VERBS = [
    "arrived two hours late", "refused to start this morning", "was charged twice for one order",
    "keeps asking about the deposit", "vanished behind the warehouse", "needs a replacement part",
    "has been repainted in green", "lost its signal in the tunnel", "sang off key all evening",
    "forgot the password again", "smells faintly of diesel", "won a prize nobody expected",
    "must be returned before Friday", "hums when the heating is on", "cost 47.50 instead of 39.99",
]
TAILS = [
    "and nobody has explained why", "although the manual says otherwise", "because it rained",
    "so please cancel the subscription", "which made the neighbours laugh",
    "after I had called support three times", "while the others were still asleep",
    "unless the warranty covers it", "and I would like my money back",
    "even though the tracking page says delivered",
]
QUESTIONS = [
    "Where is my parcel?", "How do I change the e-mail address of my account?",
    "Can I pay by bank transfer?", "Why was my card declined?", "Is there a vegan option?",
    "What time does the last tram leave?", "Who do I call about a gas smell?",
    "Do you ship to Iceland?", "Could you resend the invoice as PDF?", "When will it be back?",
]
SHORT = [
    "refund", "Hello", "yes", "No!", "42", "?", "...", "OK :)", "Guten Tag", "thanks a lot",
    "cancel order", "iPhone", "x", "C++ or Rust?", "e-mail", "3.14159", "#urgent", "@support",
    "https://example.org/a?b=c&d=e", "SELECT * FROM orders;", "a\tb\nc", "  padded  ",
    "naïve café", "ÜBERGRÖSSE", "I'm", "won't", "rock'n'roll", "1,000,000.00",
    "supercalifragilisticexpialidocious", "AAAAAAAAAAAAAAAAAAAAAAAA", "-", "—", "½ litre",
    "[MASK]", "the [SEP] token", "null", "",
]
SCRIPTS = [
    "Мой заказ так и не пришёл, верните деньги.", "Πού είναι το δέμα μου;",
    "注文した荷物がまだ届きません。", "我的包裹在哪里？请尽快回复。", "환불은 언제 되나요?",
    "أين طلبي؟ لم يصل بعد.", "מתי תגיע ההזמנה שלי?", "मेरा ऑर्डर कहाँ है?",
    "ฉันต้องการยกเลิกคำสั่งซื้อ", "Đơn hàng của tôi ở đâu?", "Gdzie jest moja paczka? Żółć!",
    "Kde je můj balík, prosím?", "Hvor er pakken min, æøå?", "İstanbul'da kargo nerede?",
    "Où est passée ma commande, s'il vous plaît ?", "¿Dónde está mi pedido? ¡Qué lástima!",
    "Die Straße zum Fußgängerüberweg ist gesperrt.", "Երևանից բարև", "გამარჯობა", "ሰላም",
    "🎉", "🚚📦❓ where is it 😡😡", "👩‍👩‍👧‍👦 family plan", "🇮🇸 shipping", "cafe\u0301 versus café",
    "zero\u200bwidth", "ﬁne ligature", "Ａ　ｆｕｌｌｗｉｄｔｈ　ｌｉｎｅ", "𝔣𝔯𝔞𝔨𝔱𝔲𝔯", "mixed 日本語 and English 123",
    "a\u00a0non-breaking\u00a0space", "soft\u00adhyphen", "\u202eright to left\u202c",
    "tabs\tand\r\nlines", "control \x07 bell", "price: €49,90 / £42.10 / ¥7000",
]


def texts() -> list[str]:
    """240 texts, shortest families first."""
    draw = random.Random(20261123)

    def sentence() -> str:
        words = f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.choice(TAILS)}"
        return words[0].upper() + words[1:] + draw.choice([".", ".", "!", "…"])

    out = list(SHORT) + list(SCRIPTS) + list(QUESTIONS)
    out += [f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)}" for _ in range(30)]
    out += [sentence() for _ in range(50)]
    # Paragraphs: 2 to 24 sentences (about 15 to 350 tokens), some beyond 256 and some beyond 512.
    for count in [2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 22, 24,
                  30, 45]:
        for _ in range(2):
            out.append(" ".join(
                draw.choice([sentence(), draw.choice(QUESTIONS)]) for _ in range(count)))
    # Around the limit itself: words of one token each, so that 254 words and two special tokens
    # are exactly 256.
    for count in [1, 2, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 253, 254, 255, 256, 300]:
        out.append(" ".join(draw.choice(["red", "bus", "tree", "north", "milk"])
                            for _ in range(count)))
    # Long scripts: many tokens for few characters.
    out += [draw.choice(SCRIPTS[:20]) * count for count in (3, 6, 9, 12, 15, 20, 30, 40)]
    out.append("word" * 120)
    return out


if __name__ == "__main__":
    print(len(texts()))
