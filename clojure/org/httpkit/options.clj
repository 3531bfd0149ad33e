(ns ^:no-doc org.httpkit.options
  "What tables of allowed values are made of, one per function, and how options are
  checked against them. The tables are in `options.server` and `options.client`. Not API.

  A table maps an option to [predicate expectation] or [predicate expectation
  thrown], `thrown` being a function of message and value that makes the
  exception. Metadata of that vector: ^:secret for options that may hold a password,
  whose values are never printed; :core for options that are passed on as a number
  under their name, see CONTRIBUTING.md (Add an option)."
  (:require
   [org.httpkit.requirements]
   [clojure.string :as str]
   [org.httpkit.options.typos :as typos])
  (:import
   [java.util Map]
   [org.httpkit.logger EventNames]
   [org.httpkit.server AsyncChannel]))

(set! *warn-on-reflection* true)

;;;; Checks

(def ^:private max-shown 60)

(defn- scalar? [x]
  (or (nil? x) (boolean? x) (number? x) (keyword? x) (symbol? x) (string? x)))

(defn shown
  "Text of `x` for a message, behind a noun: a short scalar as it is, for everything
  else only the class, since the value may be long, infinite or private."
  [x]
  (if (scalar? x)
    (let [text (pr-str x)]
      (if (< max-shown (count text))
        (str (subs text 0 max-shown) "...")
        text))
    (str "of class " (.getName (class x)))))

(defn shown-alone
  "As `shown`, where there is no noun."
  [x]
  (if (scalar? x) (shown x) (str "an object " (shown x))))

(defn illegal [^String message _] (IllegalArgumentException. message))

(defn refuse!
  "Throws IllegalArgumentException with the text of `parts`."
  [& parts]
  (throw (IllegalArgumentException. ^String (apply str parts))))

(defn- named
  "Option `k` of the table `known` and its value `v`, as messages show them."
  ^String [known k v]
  (str (shown k) " "
    (if (:secret (meta (known k)))
      (str "of class " (some-> v class .getName))
      (shown v))))

(defn- failure
  "The exception for value `v` of option `k`."
  ^Throwable [known k v]
  (let [[_ expectation thrown] (known k)]
    ((or thrown illegal) (str (named known k v) ": expected " expectation) v)))

(defn check
  "Throws for the first of `opts`, a map or nil, whose value the table `known`
  does not allow. Calls `on-unknown` with each name that is not in the table."
  ([known opts] (check known opts nil))
  ([known opts on-unknown]
   (reduce-kv
     (fn [_ k v]
       (if-let [entry (known k)]
         (when-not ((nth entry 0) v)
           (throw (failure known k v)))
         (when on-unknown (on-unknown k)))
       nil)
     nil opts)))

(defn returned
  "`v`, which the function in option `k` has returned; throws if it is not of this class, or not `valid?`."
  ([k ^Class class v]
   (returned k #(instance? class %) (.getSimpleName class) v))
  ([k valid? expected v]
   (when-not (valid? v)
     (let [message (str k " returned " (shown v) ": expected a " expected)]
       (throw (if (nil? v) (NullPointerException. message) (ClassCastException. message)))))
   v))

(defn as-map
  "The options of `what` as a map; a seq of keys and values counts as one.
  Throws IllegalArgumentException for anything else."
  [what opts]
  (cond
    (or (nil? opts) (map? opts)) opts
    (instance? Map opts)         (into {} opts)
    (seq? opts)                  (apply hash-map opts)
    :else (refuse! "options " (shown opts) " of " what ": expected a map")))

(defn the-channel
  "`x`, or IllegalArgumentException if it is no channel. `call` ends in a preposition."
  (^AsyncChannel [call x] (the-channel call x "a channel, which as-channel passes to its callbacks"))
  (^AsyncChannel [call x expected]
   (when-not (instance? AsyncChannel x)
     (refuse! call " " (shown-alone x) ": expected " expected))
   x))

;;;; Unknown names

(defn unknown-name
  "The warning for the name `k`, which is no option of `what`."
  [what known k]
  (let [meant (typos/nearest known k)]
    (str (shown k) " is no option of " what (when meant (str "; did you mean " (shown meant) "?")))))

(defn check-all
  "As `check`; a name that is not in the table is an error, too."
  [what known opts]
  (check known opts
    (fn [k] (refuse! (unknown-name what known k)))))

(defn unknown-names
  "The warnings for those of `opts` that are not in the table `known`."
  [what known opts]
  (map #(unknown-name what known %) (remove known (keys (or opts nil)))))

(def ^:private max-remembered 1000)

(defn first-time!
  "Whether `k` is new to the set in the atom `seen`, so that repeated events, such as
  one per request, give one warning; false for all once 1000 have been seen."
  [seen k]
  (let [known @seen]
    (if (or (contains? known k) (<= max-remembered (count known)))
      false
      (let [[before after] (swap-vals! seen conj k)]
        (not= (count before) (count after))))))

;;;; Predicates and exceptions

(def anything
  "Entry for any value."
  [(constantly true) "anything"])

(defn number-thrown
  "The exception of a cast to int, as in http-kit."
  [^String message v]
  (cond
    (nil? v)                                   (NullPointerException. message)
    (not (number? v))                          (ClassCastException. message)
    (<= Integer/MIN_VALUE v Integer/MAX_VALUE) (IllegalArgumentException. message)
    :else                                      (ArithmeticException. message)))

(defn truncated
  "Entry for a number from `least` to `most`, whose fraction is ignored, as by http-kit."
  ([least] (truncated least Integer/MAX_VALUE))
  ([least most]
   [#(and (number? %) (<= least % most))
    (str "an integer from " least " to " most)
    number-thrown]))

(defn whole
  "The table entry, of numbers, without those that have a fraction: 0.5 would become 0, which is often no limit."
  [[valid? & more]]
  (into [#(and (valid? %) (== % (long %)))] more))

(def integer
  "Entry for a whole number from `least` to `most`, of any class: for options that http-kit does not have."
  (comp whole truncated))

(def any-int
  "Entry for a number whose negative values mean the same as 0."
  [#(and (number? %) (<= Integer/MIN_VALUE % Integer/MAX_VALUE))
   (str "an integer of at most " Integer/MAX_VALUE)
   number-thrown])

(defn optional
  "The table entry that also allows nil."
  [[valid? expectation & more :as entry]]
  (with-meta (into [#(or (nil? %) (valid? %)) (str expectation ", or nil")] more)
    (meta entry)))

(defn unless-none
  "The table entry that also allows nil and false."
  [[valid? expectation & more :as entry]]
  (with-meta (into [#(or (not %) (valid? %)) (str expectation ", or nil")] more)
    (meta entry)))

(def limit
  "Entry for a limit in numbers or msecs; 0, nil and false for none."
  (unless-none (integer 0)))

(defn class-thrown
  "A value of a wrong class gives a ClassCastException, as in http-kit."
  [^String message v]
  (if (nil? v)
    (IllegalArgumentException. message)
    (ClassCastException. message)))

(defn one-of
  "Entry for one of the keywords `options`."
  [& options]
  [(set options) (str (str/join ", " (butlast options)) " or " (last options))])

(defn to-int
  "`n` as an int, or ArithmeticException."
  ^long [n]
  (Math/toIntExact (long n)))

(defn- core-number
  "nil and false, which mean no limit, become 0."
  [v]
  (to-int (or v 0)))

(defn unless-default
  "nil and false, which mean the default, are not passed on."
  [v]
  (when v (to-int v)))

(defn core
  "The table entry of an option that the Rust core knows by the same name. `numbers`,
  a map or a function, turns the value into the number that the core gets; if it is
  nil, the option is not passed on."
  ([entry] (core entry core-number))
  ([entry numbers] (vary-meta entry assoc :core numbers)))

(defn core-numbers
  "{name number} for those of `opts` that go to the core; the table `known` allows
  them."
  [known opts]
  (into {}
        (for [[k v] opts
              :let  [number (when-let [numbers (:core (meta (known k)))] (numbers v))]
              :when number]
          [(name k) number])))

(defn function
  "Entry for a function of `args`; nil or false for none."
  [args]
  [#(or (not %) (ifn? %)) (str "a function of " args)])

(defn- wrong-event-key
  "[key] of the first key of `v` that is no String, or nil."
  [v]
  (when (instance? Map v)
    (first (map vector (remove string? (keys v))))))

(def event-names
  "Entry for names of events."
  (unless-none [#(or (instance? EventNames %) (and (instance? Map %) (nil? (wrong-event-key %))))
                "a map with String keys, or EventNames"
                (fn [^String message v]
                  (if-let [[k] (wrong-event-key v)]
                    (illegal (str ":event-names has the key " (shown k)
                               ": expected a map with String keys, or EventNames, or nil") v)
                    (illegal message v)))]))

(def events
  "The keys of `:event-names`."
  (zipmap ["serverAcceptError" "serverLoopError" "serverWsDecodeError" "serverWsFrameError" "serverChannelCloseError"
           "serverTlsHandshakeError" "serverTlsReload" "serverStatusPrefix" "serverStatus404" "serverStatus413"
           "serverStatus414" "serverStatus500" "serverStatus503" "serverStatus503Todo" "serverTimeoutPrefix"
           "clientImpossible"]
          (repeat anything)))

(defn unknown-events
  "The warnings for keys of `event-names`, the value of the option, that name no event. An EventNames has none."
  [event-names]
  (when (instance? Map event-names)
    (unknown-names ":event-names" events event-names)))

(def worker
  "Of `new-worker`."
  {:allow-virtual?     anything
   :n-min-threads      (unless-none (truncated 0))
   :n-max-threads      (unless-none (truncated 1))
   :n-threads          (unless-none (truncated 1))
   :queue-type         (unless-none (one-of :array :linked))
   :queue-size         (unless-none (truncated 1))
   :keep-alive-msecs   (unless-none (truncated 0))
   :prefix             (unless-none [string? "a String" class-thrown])})
