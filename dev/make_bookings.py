"""Writes examples/table-bookings/bookings.csv: invented messages and the fields in them.

The forms, words and names below are ours; the choice among them is drawn from a fixed seed, so the
file is the same every time. Usage: python3 dev/make_bookings.py
"""

import csv
import json
import random
from pathlib import Path

ROWS = 2400
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 10: "ten"}
NAMES = """Novak Okafor Lindgren Haddad Moreau Tanaka Silva Kowalski Reyes Bauer Costa Yilmaz Petrov
Jansen Dubois Murphy Nguyen Ivanova Schmidt Ferrari Hansen Kaya Mensah Patel Rossi Walker Fischer
Olsen Pereira Quinn Romero Sato Takeda Usman Vargas Weber Xu Young Zhang Abbott Blake Carter Dalton
Ellis Foster Greene Hughes Iqbal Jensen Keller Larsson Maier Nkosi Owens Price Reid Stone Turner
Ueda Vogel Wood Yates Zimmer Bianchi Castro Duarte Eriksen Franke Gomez Horvat Ito Jovic""".split()
# Each wish in the words of guests; none of them says the wish's own name only.
WISHES = {
    "window": ["by the window", "a window table if you have one", "with a view of the street",
               "next to the big window", "near the glass front so we can look out"],
    "terrace": ["on the terrace", "outside if the weather holds", "in the open air",
                "outdoors please", "somewhere on your terrace"],
    "high chair": ["with a high chair", "our baby needs a high chair",
                   "we bring a toddler who needs a chair of her own", "one of us is one year old",
                   "plus a seat for the baby"],
    "quiet": ["somewhere quiet", "away from the noise", "a calm corner would be nice",
              "not next to the kitchen, we want to talk", "as quiet as possible"],
}
CLOCK = ["12:00", "12:30", "13:00", "13:30", "18:00", "18:30", "19:00", "19:15", "19:30", "20:00",
         "20:30", "21:00"]
HOURS = {12: "twelve", 13: "one", 18: "six", 19: "seven", 20: "eight", 21: "nine"}

FORMS = [
    "Hello, could I get a table for {people} on {day} {at}{wish}? The name is {name}.",
    "Is there anything free {day} {at} for a party of {people}{wish}? {name} here.",
    "We are {people} and would like to come {day} {at}{wish}. Booking under {name}.",
    "Please put {name} down for {day}, {people} guests, arriving {at}{wish}.",
    "Hi! It's {name}. {day}, {at}, {people} people{wish}. Thanks a lot",
    "Reserve {day} {at} for {name}{wish}, {people} persons",
    "{name}, {people} of us, {day} {at}{wish} please",
    "my wife and I plus some friends, {people} altogether, {day} {at}{wish} - {name}",
    "table {day} {at} {people} ppl name {name}{wish}",
    "Good morning, {name} speaking. I'd like to reserve for {people} on {day} {at}{wish}.",
    "Do you still have room for {people} on {day}? We would be there {at}{wish}. Regards, {name}",
    "Dear team, we have an anniversary on {day} and would love to celebrate with you {at}. There "
    "will be {people} of us{wish}. Kind regards, {name}",
    "{day} works best for us, {at}. {people} covers, under the name of {name}{wish}.",
    "Can you fit {people} in {at} on {day}{wish}? It's for {name}.",
    "Booking request: {name} / {day} / {at} / {people} guests{wish}",
    "We had {other} in mind but {day} is better after all: {at}, {people} people{wish}, {name}.",
    "Last time we were {others}, this time only {people}. {day} {at}{wish}, name as always {name}",
    "Colleagues are visiting, so {people} seats on {day} {at}{wish}. My name is {name}.",
    "hey, {name} again :) same as usual but for {people} this time, {day} {at}{wish}",
    "I would like to book for {day} {at}. Name: {name}. Number of people: {people}{wish}.",
    "not {other}, {day}! {at} for {people}, {name}{wish}",
    "Would {day} {at} be possible for {people} hungry people{wish}? Cheers, {name}",
    "{name} party of {people}, {day}, {at}{wish}, thank you!",
    "We'll be {people}. {day}. {at}. {name}{wish}.",
]


def spoken(time, draw):
    """A time as people write it."""
    hour, minute = (int(part) for part in time.split(":"))
    twelve = hour - 12 if hour > 12 else hour
    half = "" if minute == 0 else f":{minute:02}"
    forms = [f"at {time}", f"around {time}", f"{time}",
             f"at {twelve}{half} {'pm' if hour >= 12 else 'am'}"]
    if minute == 0:
        forms.append(f"at {HOURS[hour]} o'clock" + (" in the evening" if hour > 17 else ""))
    if minute == 30:
        forms.append(f"at half past {HOURS[hour]}")
    if minute == 15:
        forms.append(f"at quarter past {HOURS[hour]}")
    return draw.choice(forms)


def row(draw):
    name, day = draw.choice(NAMES), draw.choice(DAYS)
    people, time = draw.choice(list(NUMBERS)), draw.choice(CLOCK)
    wish = draw.choice([None, None, *WISHES])
    form = draw.choice(FORMS)
    text = form.format(
        name=name, day=day, at=spoken(time, draw),
        people=draw.choice([str(people), NUMBERS[people]]),
        other=draw.choice([other for other in DAYS if other != day]),
        others=draw.choice([str(other) for other in NUMBERS if other != people]),
        wish=f", {draw.choice(WISHES[wish])}" if wish else "",
    )
    answer = {"name": name, "people": people, "day": day, "time": time}
    if wish:
        answer["wish"] = wish
    return text, json.dumps(answer)


def main():
    draw, seen, rows = random.Random(2026), set(), []
    while len(rows) < ROWS:
        text, answer = row(draw)
        if text not in seen:
            seen.add(text)
            rows.append((text, answer))
    path = Path(__file__).parent.parent / "examples/table-bookings/bookings.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["text", "answer"])
        writer.writerows(rows)


main()
