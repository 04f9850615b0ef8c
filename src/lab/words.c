/* lab/words.c - what the world tldr talks about: topics, people, deeds, turns of phrase.
 *
 * A topic is a subreddit with people and deeds.  A deed is "verb/verb object": two verbs that
 * mean the same (a post and a summary may choose differently), and an object that names the deed:
 * within a topic no two deeds share an object, so subject and object together identify a fact.
 * Everything else is dressing: cues that say how much a sentence matters, greetings, asides,
 * closings, each in four voices.  Tables are plain strings, taken apart once by world.c. */
#include "lab/world.h"

const struct topic_words lab_topics[LAB_TOPICS] = {
    {"family",
     "Trouble in the family|I am torn about my family|Family dinner went wrong",
     "mother|father|sister|brother|aunt|uncle|cousin|grandmother|nephew|niece",
     "lost/misplaced the ring|sold/traded the boat|forgot/missed the birthday|burned/ruined the dinner|"
     "broke/smashed the mirror|painted/decorated the nursery|cancelled/postponed the wedding|"
     "hid/buried the letter|planned/arranged the reunion|sewed/mended the dress|baked/cooked the cake|"
     "found/discovered the diary|gave/handed away the piano|borrowed/took the necklace|"
     "opened/unwrapped the present|wrote/changed the will|visited/saw the grave|started/began the argument|"
     "skipped/avoided the funeral|cleaned/swept the attic"},
    {"work",
     "Help with a problem at work|Things at the office got strange|Should I quit my job",
     "boss|manager|assistant|client|intern|director|supplier|secretary|partner|accountant",
     "rejected/refused the contract|deleted/erased the report|missed/skipped the meeting|"
     "raised/increased the salary|signed/approved the invoice|copied/stole the design|"
     "moved/shifted the deadline|broke/damaged the printer|hired/employed the consultant|"
     "changed/edited the schedule|closed/shut the branch|leaked/revealed the password|"
     "praised/liked the proposal|lost/misplaced the badge|booked/reserved the conference|"
     "ordered/bought the laptops|ignored/overlooked the complaint|delayed/postponed the launch|"
     "cut/reduced the budget|wrote/typed the memo"},
    {"home",
     "What to do about the house|My home is falling apart|A question about where I live",
     "landlord|neighbor|plumber|roommate|painter|gardener|electrician|tenant|carpenter|cleaner",
     "flooded/soaked the basement|repaired/fixed the roof|blocked/clogged the drain|cut/chopped the hedge|"
     "raised/increased the rent|replaced/changed the lock|broke/cracked the window|built/made the fence|"
     "stained/ruined the carpet|moved/pushed the sofa|installed/mounted the heater|removed/took the shelf|"
     "scratched/damaged the floor|emptied/drained the fridge|painted/coated the balcony|"
     "lost/misplaced the keys|sold/traded the garage|checked/inspected the chimney|"
     "kept/held the deposit|turned/switched off the boiler"},
    {"school",
     "Stuck with a problem at school|My class is a mess|I need help before the exams",
     "teacher|classmate|tutor|professor|student|principal|coach|librarian|lecturer|janitor",
     "cancelled/dropped the lesson|graded/marked the essay|copied/stole the homework|failed/flunked the exam|"
     "lost/misplaced the notebook|broke/damaged the microscope|wrote/printed the textbook|"
     "moved/shifted the lecture|won/took the scholarship|changed/edited the grade|"
     "started/founded the club|skipped/missed the assembly|locked/closed the library|"
     "borrowed/took the calculator|burned/ruined the experiment|planned/arranged the excursion|"
     "forgot/ignored the permit|drew/sketched the poster|joined/entered the debate|hid/buried the trophy"},
    {"travel",
     "Our trip went badly|Travel plans are in danger|A question about a journey",
     "guide|driver|pilot|tourist|traveler|captain|agent|host|passenger|receptionist",
     "missed/lost the flight|cancelled/dropped the hotel|lost/misplaced the passport|"
     "packed/filled the suitcase|rented/hired the car|booked/reserved the cruise|stole/took the camera|"
     "delayed/postponed the train|changed/switched the route|crossed/passed the border|"
     "climbed/reached the mountain|visited/saw the museum|forgot/left the tickets|tore/ripped the tent|"
     "found/discovered the island|bought/ordered the map|closed/shut the airport|"
     "refused/rejected the visa|ate/tasted the seafood|watched/followed the parade"},
    {"pets",
     "Worried about an animal|My pets and other people|Advice about a pet",
     "dog|cat|rabbit|parrot|vet|breeder|hamster|puppy|kitten|groomer",
     "chewed/bit the slippers|scratched/ruined the curtain|ate/swallowed the medicine|"
     "knocked/pushed over the lamp|escaped/fled the cage|dug/scraped up the flowers|chased/hunted the squirrel|"
     "caught/grabbed the mouse|tore/ripped the pillow|found/discovered the bone|broke/smashed the bowl|"
     "hated/disliked the bath|lost/dropped the collar|swam/crossed the pond|stole/took the sausage|"
     "guarded/watched the gate|climbed/mounted the tree|drank/emptied the milk|liked/loved the blanket|"
     "feared/dreaded the thunder"},
    {"money",
     "A question about money|I am short of money again|Was I cheated",
     "banker|lender|broker|investor|creditor|lawyer|seller|buyer|auditor|cashier",
     "froze/locked the account|raised/increased the interest|sold/traded the shares|"
     "lost/misplaced the check|refused/rejected the loan|paid/settled the debt|"
     "charged/demanded the fee|hid/buried the cash|doubled/tripled the price|"
     "cancelled/stopped the insurance|demanded/wanted the refund|signed/approved the mortgage|"
     "forgot/missed the payment|stole/took the wallet|opened/started the fund|"
     "filed/submitted the taxes|bought/got the gold|split/shared the inheritance|"
     "changed/edited the pension|found/discovered the receipt"},
    {"health",
     "I feel unwell and confused|A question about my health|Doctors are no help",
     "doctor|nurse|dentist|surgeon|patient|therapist|pharmacist|trainer|specialist|midwife",
     "lost/misplaced the results|changed/switched the dose|cancelled/dropped the surgery|"
     "pulled/removed the tooth|ordered/wanted the scan|missed/overlooked the fracture|"
     "praised/liked the diet|wrote/printed the prescription|refused/rejected the treatment|"
     "cleaned/washed the wound|caught/got the flu|stopped/ended the bleeding|"
     "forgot/skipped the vaccine|broke/cracked the wheelchair|took/drew the blood|"
     "closed/shut the clinic|ignored/overlooked the allergy|found/discovered the tumor|"
     "bandaged/wrapped the ankle|feared/dreaded the needle"},
    {"sports",
     "Our team is in trouble|A fight in my sports club|Should I leave the team",
     "goalkeeper|referee|captain|striker|swimmer|runner|boxer|cyclist|sponsor|champion",
     "lost/dropped the match|won/took the medal|broke/smashed the record|missed/skipped the training|"
     "hurt/injured the knee|cancelled/stopped the tournament|bought/ordered the jersey|"
     "insulted/offended the crowd|threw/kicked the ball|tore/ripped the net|left/quit the league|"
     "entered/joined the race|faked/staged the injury|hid/buried the whistle|praised/liked the lineup|"
     "flooded/soaked the stadium|stole/took the bicycle|refused/rejected the transfer|"
     "burned/ruined the flag|cleaned/washed the pool"},
    {"music",
     "My band is breaking up|Drama before the concert|Music has become hard",
     "singer|drummer|guitarist|conductor|pianist|violinist|producer|dancer|composer|organist",
     "cancelled/dropped the concert|broke/cracked the guitar|wrote/composed the song|"
     "lost/misplaced the microphone|sold/traded the drums|recorded/taped the album|"
     "missed/skipped the rehearsal|stole/took the melody|hated/disliked the chorus|"
     "bought/ordered the speakers|tore/ripped the costume|moved/shifted the stage|"
     "booked/reserved the tour|forgot/ignored the lyrics|tuned/adjusted the violin|"
     "quit/left the orchestra|won/got the audition|praised/liked the solo|"
     "deleted/erased the video|closed/shut the studio"},
    {"food",
     "A dinner that went wrong|Trouble in the kitchen|Is this food still good",
     "chef|waiter|baker|butcher|farmer|guest|cook|grocer|brewer|barista",
     "burned/ruined the soup|dropped/spilled the wine|salted/seasoned the steak|forgot/missed the dessert|"
     "mixed/stirred the sauce|stole/took the recipe|broke/smashed the oven|sold/traded the bakery|"
     "ordered/wanted the lobster|peeled/sliced the potatoes|hated/disliked the cheese|"
     "froze/chilled the butter|tasted/tried the stew|closed/shut the restaurant|"
     "raised/increased the tip|washed/cleaned the dishes|cooked/boiled the rice|"
     "planted/grew the tomatoes|refused/rejected the menu|lost/misplaced the knife"},
    {"town",
     "Something is wrong in our town|What can we do about the town|News from my street",
     "mayor|officer|judge|priest|mechanic|reporter|fireman|builder|postman|barber",
     "closed/shut the bridge|opened/started the market|burned/ruined the barn|"
     "painted/decorated the church|stopped/ended the festival|towed/removed the truck|"
     "lost/misplaced the parcel|planted/grew the garden|blocked/closed the road|"
     "wrote/printed the article|sold/traded the factory|cleaned/swept the square|"
     "banned/stopped the fireworks|broke/smashed the statue|moved/shifted the station|"
     "repaired/fixed the fountain|raised/increased the tax|won/took the election|"
     "flooded/soaked the tunnel|arrested/caught the thief"},
};

/* Voices: plain, chatty, formal, worried.  A cue opens a sentence and says how much it matters. */
const struct voice_words lab_voices[LAB_VOICES] = {
    {"Hello everyone.|Hi all.|I have a question.",
     "The main thing is that |What matters most is that |The real problem is that ",
     "|Also, |Then ",
     "By the way, |Not that it matters, but |On the side, ",
     "Thanks for reading.|Any help is welcome.|That is all."},
    {"Hey folks.|So here is my story.|Okay, this is a long one.",
     "The big deal is that |What really bugs me is that |Get this: ",
     "|And so |Next up, ",
     "Fun fact, |Random detail: |No biggie, but ",
     "Thoughts?|Tell me what you think.|Cheers to all of you."},
    {"Good evening.|I would like your opinion.|Allow me to explain.",
     "Most importantly, |The crucial point is that |Above all, ",
     "|Furthermore, |In addition, ",
     "For completeness, |As a minor note, |Incidentally, ",
     "I appreciate your advice.|Thank you for your time.|Kind regards."},
    {"Please help me.|I do not know where to start.|I am so nervous.",
     "I cannot sleep because |The worst part is that |I am scared because ",
     "|After that, |Meanwhile, ",
     "I do not mind that |It is fine that |I hardly care that ",
     "Please tell me what to do.|I am really lost.|Am I wrong here?"},
};

const char *const lab_asides =
    "Sorry for the long post.|I am new here.|It has been a hard week.|The weather was awful.|"
    "I did not expect any of this.|My English is not great.|I am 27 years old.|I live in a small place.|"
    "It happened on a Sunday.|We have known each other for 12 years.|I tried to stay calm.|"
    "There was a lot of shouting.|I have told nobody else.|It all happened very fast.|"
    "I drank too much coffee that day.|Nobody believed me at first.|I am writing this on my phone.|"
    "This goes back to 2009.|I had 3 hours of rest.|My head still hurts.";

const char *const lab_details =
    "on Monday|on Tuesday|on Friday|last night|this morning|last week|in March|in October|for 40 dollars|"
    "for 650 dollars|at noon|after lunch|again|twice|by mistake|on purpose|without asking|in secret|"
    "in a hurry|with a smile|at 9 in the evening|before 7 in the morning|for no reason|in front of us";

const char *const lab_leads = "Basically, |In short, |So ";
const char *const lab_asks = "What should I do?|Need advice.|Who is right?|What now?";

/* Lines for the plain part of the corpus: shop talk with the same words in another order. */
const char *const lab_plain =
    "Has anybody else met a {s} who {v} {o}?|It is rare that a {s} {v} {o}.|"
    "Yesterday the {s} {v} {o} and everyone laughed.|They say that my {s} {v} {o}, but I doubt it.|"
    "First the {s} {v} {o}, later the {s2} {v2} {o2}.|I wonder why the {s} {v} {o}.|"
    "If my {s} {v} {o}, then my {s2} {v2} {o2}.|My {s} never {v} {o}.";
