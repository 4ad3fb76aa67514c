"""The words of the simulated world: twelve topics in three languages, with sentence templates.

Plain data. Knows nothing of users, probabilities or how a tweet is put together (`grammar` does).
"""

from __future__ import annotations

from typing import Final

LANGUAGES: Final = ("en", "es", "de")
TOPICS: Final = (
    "football", "cooking", "astronomy", "gardening", "chess", "cinema",
    "cycling", "programming", "travel", "music", "birds", "books",
)  # fmt: skip


def _words(table: dict[str, str]) -> tuple[tuple[str, ...], ...]:
    """Per topic, in the order of `TOPICS`, its comma-separated words."""
    return tuple(tuple(word.strip() for word in table[topic].split(",")) for topic in TOPICS)


#: Topical words by language, then topic.
NOUNS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "en": _words(
        {
            "football": "the penalty, the derby, the goalkeeper, the offside trap, the striker, the "
            "referee, the league table, the corner kick, the midfield, the stoppage time, "
            "the transfer window, the header",
            "cooking": "the sourdough, the risotto, the braised lamb, the pepper sauce, the oven, the "
            "dumplings, the recipe, the garlic, the pastry, the chutney, the simmering "
            "broth, the marinade",
            "astronomy": "the comet, the nebula, the eclipse, the telescope, the galaxy, the meteor "
            "shower, the lunar crater, the supernova, the orbit, the spectrum, the dwarf "
            "planet, the observatory",
            "gardening": "the tomato seedlings, the compost, the rose bed, the greenhouse, the pruning, "
            "the mulch, the bean trellis, the lavender, the slug trap, the orchard, the "
            "watering can, the perennials",
            "chess": "the endgame, the gambit, the rook lift, the Sicilian, the blunder, the passed "
            "pawn, the bishop pair, the stalemate, the opening theory, the grandmaster, the "
            "zugzwang, the castling",
            "cinema": "the screenplay, the director's cut, the matinee, the close-up, the soundstage, "
            "the sequel, the film festival, the cinematography, the casting, the trailer, "
            "the plot twist, the box office",
            "cycling": "the peloton, the mountain stage, the derailleur, the breakaway, the time "
            "trial, the saddle, the gravel ride, the sprint finish, the puncture, the "
            "chainring, the climb, the velodrome",
            "programming": "the compiler, the refactoring, the unit test, the segfault, the pull request, "
            "the cache, the deadlock, the type checker, the stack trace, the API, the "
            "linter, the recursion",
            "travel": "the night train, the passport, the harbour town, the hostel, the boarding "
            "pass, the itinerary, the old quarter, the ferry, the layover, the mountain "
            "hut, the backpack, the border crossing",
            "music": "the bassline, the encore, the string quartet, the chorus, the vinyl, the "
            "drummer, the soundcheck, the harmony, the synthesizer, the setlist, the "
            "ballad, the melody",
            "birds": "the kingfisher, the nest box, the migration, the warbler, the binoculars, the "
            "heron, the dawn song, the owl pellet, the wetland hide, the plumage, the swift "
            "colony, the feeder",
            "books": "the novel, the paperback, the sonnet, the narrator, the bookshop, the chapter, "
            "the first edition, the memoir, the footnote, the library, the short story, the "
            "translation",
        }
    ),
    "es": _words(
        {
            "football": "el penalti, el clásico, el portero, el fuera de juego, el delantero, el "
            "árbitro, la tabla de la liga, el saque de esquina, el mediocampo, el "
            "descuento, el fichaje, el cabezazo",
            "cooking": "la masa madre, el arroz caldoso, el cordero guisado, el sofrito, el horno, las "
            "empanadillas, la receta, el ajo, el hojaldre, el adobo, el caldo, la tortilla",
            "astronomy": "el cometa, la nebulosa, el eclipse, el telescopio, la galaxia, la lluvia de "
            "estrellas, el cráter lunar, la supernova, la órbita, el espectro, el planeta "
            "enano, el observatorio",
            "gardening": "los semilleros, el compost, los rosales, el invernadero, la poda, el "
            "acolchado, las judías, la lavanda, las babosas, el huerto, la regadera, los "
            "bulbos",
            "chess": "el final de torres, el gambito, el enroque, la siciliana, el error de "
            "apertura, el peón pasado, la pareja de alfiles, el ahogado, la apertura, el "
            "gran maestro, la clavada, el jaque doble",
            "cinema": "el guion, el montaje, la matiné, el primer plano, el rodaje, la secuela, el "
            "festival de cine, la fotografía, el reparto, el tráiler, el giro final, la "
            "taquilla",
            "cycling": "el pelotón, la etapa de montaña, el desviador, la escapada, la contrarreloj, "
            "el sillín, la ruta de grava, el esprint, el pinchazo, el plato, el puerto, el "
            "velódromo",
            "programming": "el compilador, la refactorización, la prueba unitaria, el puntero nulo, la "
            "rama, la caché, el interbloqueo, el tipado, la traza de pila, la interfaz, el "
            "analizador, la recursión",
            "travel": "el tren nocturno, el pasaporte, el puerto viejo, el albergue, la tarjeta de "
            "embarque, el viaje, el casco antiguo, el transbordador, la escala, el refugio, "
            "la mochila, la frontera",
            "music": "la línea de bajo, el bis, el cuarteto de cuerda, el estribillo, el vinilo, la "
            "batería, la prueba de sonido, la armonía, el sintetizador, el repertorio, la "
            "balada, la melodía",
            "birds": "el martín pescador, la caja nido, la migración, la curruca, los prismáticos, "
            "la garza, el canto del alba, la lechuza, el humedal, el plumaje, los vencejos, "
            "el comedero",
            "books": "la novela, el libro de bolsillo, el soneto, la narradora, la librería, el "
            "capítulo, la primera edición, las memorias, la nota al pie, la biblioteca, el "
            "cuento, la traducción",
        }
    ),
    "de": _words(
        {
            "football": "der Elfmeter, das Derby, der Torwart, das Abseits, der Stürmer, der "
            "Schiedsrichter, die Tabelle, der Eckball, das Mittelfeld, die Nachspielzeit, "
            "der Vereinswechsel, der Kopfball",
            "cooking": "der Sauerteig, das Risotto, der Schmorbraten, die Pfeffersoße, der Backofen, "
            "die Knödel, das Rezept, der Knoblauch, der Blätterteig, das Apfelmus, die "
            "Brühe, die Marinade",
            "astronomy": "der Komet, der Nebel im Orion, die Finsternis, das Teleskop, die Galaxie, der "
            "Sternschnuppenstrom, der Mondkrater, die Supernova, die Umlaufbahn, das "
            "Spektrum, der Zwergplanet, die Sternwarte",
            "gardening": "die Setzlinge, der Kompost, das Rosenbeet, das Gewächshaus, der Baumschnitt, "
            "der Rindenmulch, die Stangenbohnen, der Lavendel, die Schnecken, der "
            "Obstgarten, die Gießkanne, die Stauden",
            "chess": "das Endspiel, das Gambit, die Rochade, der Sizilianer, der Patzer, der "
            "Freibauer, das Läuferpaar, das Patt, die Eröffnungstheorie, der Großmeister, "
            "der Zugzwang, das Matt",
            "cinema": "das Drehbuch, der Filmschnitt, die Nachmittagsvorstellung, die Nahaufnahme, "
            "das Studio, die Fortsetzung, das Filmfest, die Kameraarbeit, die Besetzung, "
            "der Vorspann, die Wendung, die Kinokasse",
            "cycling": "das Hauptfeld, die Bergetappe, das Schaltwerk, der Ausreißer, das Zeitfahren, "
            "der Sattel, die Schotterpiste, der Zielsprint, die Reifenpanne, das "
            "Kettenblatt, der Anstieg, die Radrennbahn",
            "programming": "der Übersetzer, der Umbau im Code, der Modultest, der Speicherfehler, der "
            "Zweig, der Zwischenspeicher, die Verklemmung, die Typprüfung, die Fehlerspur, "
            "die Schnittstelle, das Prüfwerkzeug, die Rekursion",
            "travel": "der Nachtzug, der Reisepass, die Hafenstadt, die Herberge, die Bordkarte, die "
            "Reiseroute, die Altstadt, die Fähre, der Zwischenhalt, die Berghütte, der "
            "Rucksack, der Grenzübergang",
            "music": "der Basslauf, die Zugabe, das Streichquartett, der Refrain, die Schallplatte, "
            "das Schlagzeug, die Klangprobe, die Harmonie, der Synthesizer, die Liedfolge, "
            "die Ballade, die Melodie",
            "birds": "der Eisvogel, der Nistkasten, der Vogelzug, die Grasmücke, das Fernglas, der "
            "Reiher, der Morgengesang, die Eule, das Feuchtgebiet, das Gefieder, die "
            "Mauersegler, das Futterhaus",
            "books": "der Roman, das Taschenbuch, das Sonett, die Erzählerin, der Buchladen, das "
            "Kapitel, die Erstausgabe, die Memoiren, die Fußnote, die Bibliothek, die "
            "Kurzgeschichte, die Übersetzung",
        }
    ),
}

#: Hashtags by topic, the same in every language.
HASHTAGS: Final = _words(
    {
        "football": "MatchDay, FootyTalk",
        "cooking": "HomeCook, FoodieNotes",
        "astronomy": "ClearSkies, AstroNight",
        "gardening": "GrowYourOwn, GardenLife",
        "chess": "ChessPunks, BoardVision",
        "cinema": "FilmTwitter, NowWatching",
        "cycling": "RideMore, Velo",
        "programming": "DevLife, CodeReview",
        "travel": "Wanderlog, SlowTravel",
        "music": "NowPlaying, LiveMusic",
        "birds": "BirdWatch, Twitching",
        "books": "AmReading, BookClub",
    }
)

#: Sentences by language and manner: a plain statement, a question, a call to pass it on.
#: {a} and {b} are topical words, {m} a mood.
TEMPLATES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "en": {
        "plain": (
            "{A} and {b} today: {m}.",
            "Still thinking about {a}. {M}.",
            "{M}: {a}, {b} and a long evening.",
            "All I wanted was {a}, and then came {b}.",
            "My notes on {a} are out, with a word on {b}.",
            "{A} was {m}, {b} even more so.",
            "A whole morning with {a}. No regrets.",
        ),
        "question": (
            "Who else saw {a}? And {b}?",
            "What do you make of {a}, after {b}?",
            "Is {a} {m}, or is it {b}?",
        ),
        "call": (
            "Please share: {a} and {b}, {m}.",
            "Pass this on if {a} matters to you. {M}.",
            "Spread the word about {a}!",
        ),
    },
    "es": {
        "plain": (
            "{A} y {b}, hoy: {m}.",
            "Sigo pensando en {a}. {M}.",
            "{M}: {a}, {b} y una tarde larga.",
            "Solo quería {a}, y luego llegó {b}.",
            "Mis apuntes sobre {a}, con algo de {b}.",
            "Entre {a} y {b}, algo {m}.",
            "Una mañana entera con {a}. Sin arrepentirme.",
        ),
        "question": (
            "¿Quién más vio {a}? ¿Y {b}?",
            "¿Qué opinan de {a}, después de {b}?",
            "¿Qué es más {m}, {a} o {b}?",
        ),
        "call": (
            "Compartan: {a} y {b}, {m}.",
            "Difundan si les importa {a}. {M}.",
            "¡Que se sepa lo de {a}!",
        ),
    },
    "de": {
        "plain": (
            "{A} und {b}, heute: {m}.",
            "Immer noch im Kopf: {a}. {M}.",
            "{M}: {a}, {b} und ein langer Abend.",
            "Erst {a}, und dann noch {b}.",
            "Meine Notizen sind da. Thema: {a}, dazu {b}.",
            "{A}: {m}. Noch mehr: {b}.",
            "Thema des Morgens: {a}. Ich bereue nichts.",
        ),
        "question": (
            "Wer kennt das: {a}? Und {b}?",
            "Was sagt ihr: {a} oder {b}?",
            "Was ist {m}er: {a} oder {b}?",
        ),
        "call": (
            "Bitte teilen: {a} und {b}, {m}.",
            "Weitersagen, wenn es euch wichtig ist: {a}. {M}.",
            "Erzählt es allen: {a}!",
        ),
    },
}

MOODS: Final[dict[str, tuple[str, ...]]] = {
    "en": (
        "brilliant",
        "a mess",
        "quietly perfect",
        "overrated",
        "wonderful",
        "strange",
        "underrated",
        "tense",
    ),
    "es": (
        "genial",
        "impresionante",
        "increíble",
        "difícil",
        "brillante",
        "notable",
        "terrible",
        "inolvidable",
    ),
    "de": ("schön", "spannend", "seltsam", "toll", "schwierig", "fein", "überraschend", "wild"),
}

#: What a reply or a quote opens with.
OPENINGS: Final[dict[str, tuple[str, ...]]] = {
    "en": ("Exactly.", "Not so sure.", "Well said.", "Reminds me:", "Adding to this:"),
    "es": ("Exacto.", "No estoy tan seguro.", "Bien dicho.", "Me recuerda:", "Añado:"),
    "de": ("Genau.", "Na ja.", "Gut gesagt.", "Dabei fällt mir ein:", "Ergänzung:"),
}

#: How a profile speaks of its owner's interests, and how it begins when it doesn't.
BIOS: Final[dict[str, tuple[str, str]]] = {
    "en": ("Here for {topics}.", "Just looking around."),
    "es": ("Por aquí: {topics}.", "Solo de paso."),
    "de": ("Hier wegen {topics}.", "Nur mal schauen."),
}

SYLLABLES: Final = (
    "mi", "ra", "to", "len", "ka", "vo", "su", "ne", "dar", "il",
    "po", "ze", "fa", "lu", "bri", "on", "te", "cha", "rem", "ys",
)  # fmt: skip
