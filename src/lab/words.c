/* lab/words.c - what the world tldr talks about: topics, people, things, turns of phrase.
 *
 * A topic is a subreddit with its people and things; deeds are the same everywhere, two verbs
 * that mean the same each (a post and a summary may choose differently).  Every thing has its
 * person and its deed (world.c), so a topic has as many facts as things, and which of them a post
 * tells, and how, must be read in the post.  Everything else is dressing: cues that say how much
 * a sentence matters, greetings, asides, closings, each in four voices.  Tables are plain
 * strings, taken apart once by world.c. */
#include "lab/world.h"

const char *const lab_deeds =
    "forgot/overlooked|wanted/desired|found/discovered|lost/misplaced|changed/altered|ruined/wrecked|"
    "hated/disliked|loved/adored|ignored/neglected|missed/skipped|saved/rescued|hid/concealed|"
    "mentioned/described|refused/rejected|praised/admired|took/grabbed";

const struct topic_words lab_topics[LAB_TOPICS] = {
    {"family",
     "Trouble in the family|I am torn about my family|Family dinner went wrong",
     "mother|father|sister|brother|aunt|uncle|cousin|grandmother|grandfather|nephew|niece|"
     "daughter|son|twin",
     "ring|boat|birthday|dinner|mirror|nursery|wedding|letter|reunion|dress|cake|diary|piano|"
     "necklace|present|will|grave|argument|funeral|attic|cradle|portrait|recipe|secret|"
     "holiday|inheritance|picnic|toy|bracelet|quilt|promise|anniversary"},
    {"work",
     "Help with a problem at work|Things at the office got strange|Should I quit my job",
     "boss|manager|assistant|client|intern|director|supplier|secretary|partner|accountant|"
     "engineer|recruiter|analyst|colleague",
     "contract|report|meeting|salary|invoice|design|deadline|printer|consultant|schedule|"
     "branch|password|proposal|badge|conference|laptop|complaint|launch|budget|memo|project|"
     "spreadsheet|warehouse|bonus|desk|interview|promotion|website|email|strategy|workshop|"
     "vacancy"},
    {"home",
     "What to do about the house|My home is falling apart|A question about where I live",
     "landlord|neighbor|plumber|roommate|painter|gardener|electrician|tenant|carpenter|"
     "cleaner|locksmith|decorator|roofer|caretaker",
     "basement|roof|drain|hedge|rent|lock|window|fence|carpet|sofa|heater|shelf|floor|fridge|"
     "balcony|key|garage|chimney|deposit|boiler|door|curtain|cellar|lawn|kitchen|bathtub|"
     "wallpaper|staircase|mailbox|ladder|faucet|doorbell"},
    {"school",
     "Stuck with a problem at school|My class is a mess|I need help before the exams",
     "teacher|classmate|tutor|professor|student|principal|coach|librarian|lecturer|janitor|"
     "dean|freshman|counselor|supervisor",
     "lesson|essay|homework|exam|notebook|microscope|textbook|lecture|scholarship|grade|club|"
     "assembly|library|calculator|experiment|excursion|permit|poster|debate|trophy|thesis|"
     "seminar|diploma|laboratory|dictionary|blackboard|uniform|locker|pencil|quiz|syllabus|"
     "canteen"},
    {"travel",
     "Our trip went badly|Travel plans are in danger|A question about a journey",
     "guide|driver|pilot|tourist|traveler|captain|agent|host|passenger|receptionist|porter|"
     "steward|hiker|sailor",
     "flight|hotel|passport|suitcase|car|cruise|camera|train|route|border|mountain|museum|"
     "ticket|tent|island|map|airport|visa|seafood|parade|beach|luggage|compass|harbor|"
     "souvenir|itinerary|backpack|cabin|castle|desert|ferry|waterfall"},
    {"pets",
     "Worried about an animal|My pets and other people|Advice about a pet",
     "dog|cat|rabbit|parrot|vet|breeder|hamster|puppy|kitten|groomer|turtle|pony|ferret|walker",
     "slipper|rug|medicine|lamp|cage|flower|squirrel|mouse|pillow|bone|bowl|bath|collar|pond|"
     "sausage|gate|tree|milk|blanket|thunder|leash|basket|carrot|biscuit|kennel|feather|nest|"
     "stick|fish|haystack|saddle|shampoo"},
    {"money",
     "A question about money|I am short of money again|Was I cheated",
     "banker|lender|broker|investor|creditor|lawyer|seller|buyer|auditor|cashier|trader|"
     "debtor|treasurer|insurer",
     "account|interest|share|check|loan|debt|fee|cash|price|insurance|refund|mortgage|payment|"
     "wallet|fund|tax|gold|estate|pension|receipt|coin|credit|bond|auction|profit|statement|"
     "voucher|discount|subsidy|lottery|ledger|bargain"},
    {"health",
     "I feel unwell and confused|A question about my health|Doctors are no help",
     "doctor|nurse|dentist|surgeon|patient|therapist|pharmacist|trainer|specialist|midwife|"
     "optician|paramedic|dietitian|healer",
     "result|dose|surgery|tooth|scan|fracture|diet|prescription|treatment|wound|flu|bleeding|"
     "vaccine|wheelchair|blood|clinic|allergy|tumor|ankle|needle|fever|cough|bandage|pill|"
     "rash|hospital|symptom|diagnosis|crutch|thermometer|ointment|massage"},
    {"sports",
     "Our team is in trouble|A fight in my sports club|Should I leave the team",
     "goalkeeper|referee|striker|swimmer|runner|boxer|cyclist|sponsor|champion|skier|rower|"
     "wrestler|mascot|rival",
     "match|medal|record|training|knee|tournament|jersey|crowd|ball|net|league|race|injury|"
     "whistle|lineup|stadium|bicycle|transfer|flag|pool|helmet|glove|penalty|marathon|racket|"
     "podium|scoreboard|victory|dumbbell|finish|track|season"},
    {"music",
     "My band is breaking up|Drama before the concert|Music has become hard",
     "singer|drummer|guitarist|conductor|pianist|violinist|producer|dancer|composer|organist|"
     "bassist|fan|rapper|cellist",
     "concert|guitar|song|microphone|drum|album|rehearsal|melody|chorus|speaker|costume|stage|"
     "tour|lyric|violin|orchestra|audition|solo|video|studio|flute|trumpet|ballad|festival|"
     "encore|harp|amplifier|keyboard|opera|cassette|remix|rhythm"},
    {"food",
     "A dinner that went wrong|Trouble in the kitchen|Is this food still good",
     "chef|waiter|baker|butcher|farmer|guest|cook|grocer|brewer|barista|taster|caterer|"
     "bartender|hostess",
     "soup|wine|steak|dessert|sauce|oven|bakery|lobster|potato|cheese|butter|stew|restaurant|"
     "tip|dish|rice|tomato|menu|knife|bread|pasta|salad|onion|pepper|banquet|pancake|pumpkin|"
     "sandwich|vinegar|honey|spoon|omelette"},
    {"town",
     "Something is wrong in our town|What can we do about the town|News from my street",
     "mayor|officer|judge|priest|mechanic|reporter|fireman|builder|postman|barber|tailor|"
     "sheriff|clerk|florist",
     "bridge|market|barn|church|carnival|truck|parcel|garden|road|article|factory|square|"
     "firework|statue|station|fountain|toll|election|tunnel|thief|bench|lantern|playground|"
     "cinema|bakehouse|windmill|petition|newspaper|tower|hydrant|sidewalk|monument"},
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
    "This goes back to 2009.|I had 3 hours of rest.|My head still hurts.|"
    "Sunshine would have been nicer.|Rain fell until midnight.|The coffee tasted bitter as usual.|"
    "Honestly, patience is not my strength.|Everyone around seemed tired and hungry.|"
    "Some strangers stared at us.|A loud radio played old jazz somewhere.|Birds sang outside.|"
    "Meanwhile traffic was terrible downtown.|Winter makes me gloomy.|Autumn leaves covered everything.|"
    "Perhaps this sounds silly.|Usually I keep quiet about such matters.|Several friends warned me.|"
    "Nothing similar occurred during spring.|Frankly, common sense is rare nowadays.|"
    "Even strong people cry sometimes.|Later we shared bitter tea and dry crackers.|"
    "A gentle breeze cooled the yard.|Clouds gathered above the distant hills.|"
    "Two kids giggled behind us.|Somebody whistled an odd tune.|Dust floated through the bright light.|"
    "Candles flickered while shadows danced.|Frozen pizza saved the evening.|"
    "Fresh paint smells sweet, apparently.|Remember that rumors travel quickly.|"
    "Both phones rang simultaneously.|Half the crew arrived late.|Snow melted under heavy boots.|"
    "Cheap umbrellas never survive storms.|Lucky numbers did not help either.|"
    "Grey fog swallowed every chimney top.|Spare batteries ran out quickly.|An elderly stranger nodded politely.|"
    "Hardly anyone noticed, thankfully.|Those crooked benches creaked loudly.";

const char *const lab_details =
    "on Monday|on Tuesday|on Friday|last night|this morning|last week|in March|in October|for 40 dollars|"
    "for 650 dollars|at noon|after lunch|again|twice|by mistake|on purpose|without asking|in secret|"
    "in a hurry|with a smile|at 9 in the evening|before 7 in the morning|for no reason|in front of us";

const char *const lab_leads = "Basically, |In short, |So ";
const char *const lab_asks = "What should I do?|Need advice.|Who is right?|What now?";

/* Lines for the plain part of the corpus: small talk with the same words in another order. */
const char *const lab_plain =
    "Has anybody else met a {s} who {v} the {o}?|It is rare that a {s} {v} the {o}.|"
    "Yesterday the {s} {v} the {o} and everyone laughed.|They say that a {s} {v} the {o}, but I doubt it.|"
    "First the {s} {v} the {o}, later the {s2} {v2} the {o2}.|I wonder why the {s} {v} the {o}.|"
    "If the {s} {v} the {o}, then the {s2} {v2} the {o2}.|Our {s} never {v} the {o}.";
