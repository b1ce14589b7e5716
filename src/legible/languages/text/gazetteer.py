"""Names by which a continuation is known to name a place or a person.

Plain data: whatever is not here is not noticed.
"""

_PLACES = """
Accra Addis_Ababa Afghanistan Africa Alabama Alaska Albania Algeria Algiers Allemagne Alps Amazon America Amsterdam
Andes Angleterre Angola Ankara Antarctica Arctic Argentina Arizona Arkansas Armenia Asia Athens Atlanta Atlantic
Australia Austria Azerbaijan Baghdad Bahrain Bangkok Bangladesh Barcelona Bavaria Beijing Beirut Belarus Belgique
Belgium Belgrade Berlin Bogota Bolivia Bombay Bordeaux Bosnia Boston Botswana Brasilia Brazil Britain Brittany
Brussels Bucharest Budapest Buenos_Aires Bulgaria Burma Cairo Calcutta California Cambodia Cameroon Canada Canberra
Caracas Chicago Chile China Colombia Colorado Congo Connecticut Constantinople Copenhagen Croatia Cuba Cyprus Dakar
Dallas Damascus Delaware Delhi Denmark Dhaka Dublin Ecuador Edinburgh Egypt England Eritrea Espagne Estonia Ethiopia
Europe Fiji Finland Florence Florida France Frankfurt Gabon Geneva Georgia Germany Ghana Greece Greenland Guatemala
Guinea Haiti Hamburg Hanoi Havana Hawaii Helsinki Himalayas Honduras Hong_Kong Houston Hungary Iceland Idaho Illinois
India Indiana Indonesia Iowa Iran Iraq Ireland Islamabad Israel Istanbul Italie Italy Jakarta Jamaica Japan Jerusalem
Johannesburg Kabul Kansas Kazakhstan Kentucky Kenya Kiev Korea Kuwait Kyiv Kyoto Lagos Laos Latvia Lebanon Liberia
Libya Lima Lisbon Lithuania Liverpool London Londres Los_Angeles Louisiana Luxembourg Lyon Madagascar Madrid Maine
Malawi Malaysia Mali Malta Manchester Manila Marseille Maryland Massachusetts Mecca Mediterranean Melbourne Mexico
Miami Michigan Milan Minnesota Mississippi Missouri Moldova Mongolia Montana Montreal Morocco Moscow Mozambique Mumbai
Munich Myanmar Nairobi Namibia Naples Nebraska Nepal Netherlands Nevada New_Delhi New_Hampshire New_Jersey New_Mexico
New_Orleans New_York New_Zealand Nicaragua Niger Nigeria Nile Normandy North_America North_Carolina North_Dakota
Norway Oceania Ohio Oklahoma Oman Ontario Oregon Osaka Oslo Ottawa Ottoman_Empire Oxford Pacific Pakistan Palestine
Panama Paraguay Paris Pennsylvania Persia Peru Philadelphia Philippines Poland Portugal Prague Provence Qatar Quebec
Rhode_Island Rio Roman_Empire Romania Rome Russia Rwanda Sahara San_Francisco Santiago Saudi_Arabia Scotland Seattle
Senegal Seoul Serbia Shanghai Siberia Sicily Singapore Slovakia Slovenia Somalia South_Africa South_America
South_Carolina South_Dakota Soviet_Union Spain Sri_Lanka Stockholm Sudan Suisse Sweden Switzerland Sydney Syria Taiwan
Tanzania Tehran Tennessee Texas Thailand Tibet Togo Tokyo Toronto Tripoli Tunis Tunisia Turkey Uganda Ukraine
United_Kingdom United_States Uruguay Utah Uzbekistan Vancouver Venezuela Venice Vermont Vienna Vietnam Virginia Wales
Warsaw Washington Wisconsin Wyoming Yemen Zambia Zimbabwe Zurich
"""
_FIRST_NAMES = """
Abraham Adam Albert Alexander Alfred Alice Amy Andrew Anna Anne Anthony Arthur Barbara Bella Ben Benjamin Bill Bob
Carl Caroline Catherine Charles Charlotte Christopher Claire Claude Daisy Daniel David Diana Donald Dorothy Edgar
Edmund Edward Eleanor Elizabeth Ella Ellen Emily Emma Eric Ernest Eva Frances Francis Frank Franz Fred Frederick
Friedrich Galileo George Grace Hannah Harold Harriet Harry Heinrich Helen Henry Hugh Isaac Isabella Ivan Jack Jacob
James Jane Jean Jennifer Jim Joan Johann Johannes John Johnny Jonathan Joseph Joshua Jules Julia Julius Karl Kate
Katherine Kevin Laura Leo Leonardo Lewis Lily Linda Lisa Louis Louise Lucy Ludwig Margaret Maria Marie Mark Martin
Mary Matthew Max Mia Michael Michelangelo Miguel Mohammed Muhammad Nancy Napoleon Nicholas Nikola Oliver Oscar Otto
Pablo Patrick Paul Peter Philip Pierre Plato Rachel Ralph Raphael Rebecca Richard Robert Roger Ronald Rose Ruth Sally
Sam Samuel Sara Sarah Sigmund Simon Sophia Sophie Spot Stephen Steven Sue Susan Theodore Thomas Tim Timmy Timothy Tom
Tommy Victor Victoria Vincent Walter William Winston Wolfgang Zoe
"""
_TITLES = """
Aunt Captain Count Doctor Dr Duke Emperor Empress King Lady Lord Madame Miss Monsieur Mr Mrs Ms Pope President Prince
Princess Professor Queen Saint Sir Sultan Uncle
"""
PLACES = frozenset(name.replace("_", " ") for name in _PLACES.split())
FIRST_NAMES = frozenset(_FIRST_NAMES.split())
TITLES = frozenset(_TITLES.split())
