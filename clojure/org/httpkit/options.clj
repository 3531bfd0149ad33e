(ns ^:no-doc org.httpkit.options
  "The allowed values of options, in one table per function. Not API.

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
   [java.io File]
   [java.net ServerSocket SocketAddress URL]
   [java.nio.channels ServerSocketChannel]
   [java.nio.file Path]
   [java.security KeyStore]
   [java.util Map]
   [java.util.concurrent ExecutorService]
   [org.httpkit.logger EventNames]
   [org.httpkit.server AsyncChannel Compression HttpServer$AddressFinder HttpServer$ServerChannelFactory]))

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

(defn- illegal [^String message _] (IllegalArgumentException. message))

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

(defn as-map
  "The options of `what` as a map; a seq of keys and values counts as one.
  Throws IllegalArgumentException for anything else."
  [what opts]
  (cond
    (or (nil? opts) (map? opts)) opts
    (instance? Map opts)         (into {} opts)
    (seq? opts)                  (apply hash-map opts)
    :else (throw (IllegalArgumentException.
                   (str "options " (shown opts) " of " what ": expected a map")))))

(defn the-channel
  "`x`, or IllegalArgumentException if it is no channel. `call` ends in a preposition."
  (^AsyncChannel [call x] (the-channel call x "a channel, which as-channel passes to its callbacks"))
  (^AsyncChannel [call x expected]
   (when-not (instance? AsyncChannel x)
     (throw (IllegalArgumentException. (str call " " (shown-alone x) ": expected " expected))))
   x))

;;;; Unknown names

(defn unknown-name
  "The warning for the name `k`, which is no option of `what`."
  [what known k]
  (let [meant (typos/nearest known k)]
    (str (shown k) " is no option of " what (when meant (str "; did you mean " meant "?")))))

(defn check-all
  "As `check`; a name that is not in the table is an error, too."
  [what known opts]
  (check known opts
    (fn [k] (throw (IllegalArgumentException. ^String (unknown-name what known k))))))

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

(def ^:private limit
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

(defn- unless-default
  "nil and false, which mean the default, are not passed on."
  [v]
  (when v (to-int v)))

(defn- core
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

(defn- header-value? [v]
  (and (string? v) (not (re-find #"[\x00-\x08\x0a-\x1f\x7f]" v))))

;;;; Tables

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

(def server-worker
  "Of the server's `new-worker`, with older names."
  (assoc worker
    :thread             (:n-threads worker)
    :worker-name-prefix (:prefix worker)))

(def ^:private overflow (one-of :close :block :reject))

(defn- compression-failure [v]
  (try (Compression/of v) nil
       (catch IllegalArgumentException e e)))

(def ^:private compression
  "Java's own check names the option inside the map."
  [#(nil? (compression-failure %)) "true, false or a map" (fn [_ v] (compression-failure v))])

(def event-names
  "Entry for names of events."
  (unless-none [#(or (instance? Map %) (instance? EventNames %))
                "a map with String keys, or EventNames"]))

(defn- source? [v]
  (or (string? v) (instance? File v) (instance? Path v) (instance? URL v)))

(def ^:private source
  [source? "a path, a File, a URL or \"classpath:...\"" class-thrown])

(def ^:private store
  (unless-none [#(or (source? %) (instance? KeyStore %))
                "a path, a File, a URL, \"classpath:...\" or a KeyStore" class-thrown]))

(def ^:private text (unless-none [string? "a String" class-thrown]))

(def ^:private password
  (unless-none ^:secret [#(or (string? %) (instance? (class (char-array 0)) %)) "a String" class-thrown]))

(def tls-identity
  "Of a map in `:tls` of `run-server`."
  {:cert         (optional source)
   :key          (optional source)
   :key-password password
   :ca           (optional source)
   :crl          (optional source)
   :ocsp         (optional source)})

(defn- versions-thrown [^String message v]
  (illegal (if (and (vector? v) (< (count v) 10)) (str ":http-versions " v ": expected [:http1]") message) v))

(def ^:private tls
  "Of the TLS port of `run-server`."
  (merge
    (zipmap [:ssl? :http? :ssl-redirect?] (repeat anything))
    {:ssl-port               (unless-none (integer 0 65535))
     :keystore               store
     :keystore-type          text
     :key-password           password
     :key-manager-password   password
     :truststore             store
     :truststore-type        text
     :trust-password         password
     :client-auth            (unless-none (one-of :none :want :need))
     :ssl-protocols          (unless-none [#(and (or (sequential? %) (set? %)) (seq %) (every? string? %))
                                           "a vector of \"TLSv1.3\" and \"TLSv1.2\""])
     :keystore-scan-interval limit
     :tls                    (unless-none [#(or (map? %) (and (sequential? %) (seq %) (every? map? %)))
                                           "{:cert path :key path}, or a vector of such maps"])
     :http-versions          (unless-none [#(= [:http1] %) "[:http1]" versions-thrown])}))

(defn- path? [v]
  (or (not v) (instance? File v) (instance? Path v) (and (string? v) (not= v ""))))

(defn- descriptor? [v]
  (and (integer? v) (<= 0 v Integer/MAX_VALUE)))

(def ^:private listen-socket
  [#(or (not %) (#{:systemd :inherited} %) (descriptor? %)
        (and (map? %) (or (descriptor? (:fd %)) (and (nil? (:fd %)) (string? (:name %))))))
   "a descriptor, :systemd, :inherited, or a map of :fd or :name, or nil"
   (fn [message v]
     (if (or (instance? ServerSocketChannel v) (instance? ServerSocket v))
       (illegal (str message "; the JDK does not give the descriptors of its sockets away") v)
       (illegal message v)))])

(defn- file? [v]
  (and (some? v) (path? v)))

(defn- label-name? [v]
  (or (string? v) (keyword? v)))

(defn- function? [v]
  (and (ifn? v) (not (or (keyword? v) (symbol? v) (coll? v)))))

(def ^:private access-formats #{:combined :common :json})

(defn- access-log? [v]
  (or (nil? v) (false? v) (= :stdout v) (file? v) (function? v)
      (and (map? v)
           (every? #{:file :format} (keys v))
           (or (= :stdout (:file v)) (file? (:file v)))
           (contains? access-formats (:format v :combined)))))

(def ^:private access-log
  [access-log?
   "a function of an entry, a path, :stdout, {:file path or :stdout, :format :combined, :common or :json}, or nil"])

(def server
  "Of `run-server`. `new-worker` checks the options of its worker pool."
  (merge
    (zipmap (keys server-worker) (repeat anything))
    tls
    {:ip                          [string? "a host name or an address, as a String" class-thrown]
     :port                        (truncated 0 65535)
     :worker-pool                 [#(or (not %) (delay? %) (instance? ExecutorService %))
                                   "an ExecutorService, a delay of one, or nil" class-thrown]
     :pool-opts                   (unless-none [map? "a map of options for new-worker"])
     :max-body                    (core any-int)
     :request-buffer-size         (core (unless-none (integer 0)) #(if % (to-int %) -1))
     :body-window                 (core (unless-none (integer 1)) unless-default)
     :max-ws                      (core any-int)
     :max-line                    (core any-int)
     :max-headers                 (core limit)
     :max-header-bytes            (core limit)
     :max-connections             (core limit)
     :max-connections-per-ip      (core limit)
     :max-requests-per-connection (core limit)
     :header-timeout              (core limit)
     :idle-timeout                (core limit)
     :body-timeout                (core limit)
     :write-timeout               (core limit)
     :handler-timeout             (core limit)
     :ws-idle-timeout             (core limit)
     :legacy-timeouts?            anything
     :proxy-protocol              (core (one-of :disable :enable :optional)
                                        {:disable 0 :enable 1 :optional 2})
     :server-header               [#(or (not %) (header-value? %))
                                   "a String without control characters, or nil for no header"
                                   #(if (string? %2) (illegal %1 %2) (class-thrown %1 %2))]
     :ring-async?                 anything
     :legacy-unsafe-remote-addr?  anything
     :legacy-content-length?      anything
     :legacy-error-messages?      anything
     :legacy-return-value?        anything
     :error-logger                (function "message and throwable")
     :warn-logger                 (function "message and throwable")
     :event-logger                (function "the event's name")
     :event-names                 event-names
     :address-finder              [#(or (not %) (ifn? %) (instance? HttpServer$AddressFinder %))
                                   "a function without arguments, or an HttpServer$AddressFinder"]
     :channel-factory             [#(or (not %) (ifn? %) (instance? HttpServer$ServerChannelFactory %))
                                   "a function of an address, or an HttpServer$ServerChannelFactory"]
     :listen-socket               listen-socket
     :unix-socket                 [path? "a path, as a String, File or Path, or nil"
                                   #(if (string? %2) (illegal %1 %2) (class-thrown %1 %2))]
     :unix-socket-mode            (core (unless-none [#(and (integer? %) (<= 0 % 0777)) "permissions, such as 0660"
                                                      #(if (number? %2) (illegal %1 %2) (class-thrown %1 %2))])
                                        unless-default)
     :unix-socket-replace?        anything
     :reuse-port?                 (core anything #(if % 1 0))
     :io-threads                  (unless-none (integer 1))
     :backlog                     (core (unless-none (integer 1)) unless-default)
     :max-pending-messages        (core (unless-none (integer 1)) unless-default)
     :max-pending-bytes           (unless-none (integer 1))
     :on-overflow                 (unless-none overflow)
     :compression                 compression
     :body-buffer-size            (unless-none (integer 0))
     :access-log                  access-log
     :interrupt-handlers?         anything
     :max-buffered-bytes          (core (unless-none (integer 0 Long/MAX_VALUE)) #(long (or % 0)))
     :stop-on-shutdown?           anything
     :shutdown-timeout            (unless-none (integer 0))}))

(def streaming-server
  "Of `run-server` with `:request-buffer-size`: longer bodies need no memory, so `:max-body` may be any number."
  (assoc server
    :max-body (core (optional (truncated 0 Long/MAX_VALUE)) #(if % (long %) Long/MAX_VALUE))))

(defn server-table
  "The table for these options of `run-server`."
  [opts]
  (if (:request-buffer-size opts) streaming-server server))

(def channel
  "Of `as-channel`."
  {:init               (function "the channel")
   :on-open            (function "the channel")
   :on-receive         (function "channel and message")
   :on-ping            (function "channel and bytes")
   :on-close           (function "channel and status")
   :on-close-raw       (function "channel, code and reason")
   :on-handshake-error (function "the channel")
   :on-drain           (function "the channel")
   :max-pending-bytes  (unless-none (integer 1))
   :on-overflow        (unless-none overflow)
   :compression        compression
   :subprotocols       (unless-none [#(and (seqable? %) (not (string? %))) "a collection of Strings"])
   :headers            (unless-none [#(or (instance? Map %) (sequential? %)) "a map of headers"])
   :ping-interval      limit
   :ping-timeout       (unless-none (integer 1))})

(def ^:private field-value
  "Of an event, on one line: a line break would begin a forged field."
  #(not (re-find #"[\r\n\x00]" (str %))))

(def ^:private event-retry
  (optional [#(and (integer? %) (<= 0 %)) "msecs, an integer from 0"]))

(def event
  "Of a server-sent event."
  {:data    (optional [string? "a String"])
   :event   (optional [#(and (string? %) (field-value %)) "a String without CR, LF and NUL"])
   :id      (optional [#(and (or (string? %) (integer? %)) (field-value %))
                       "an integer, or a String without CR, LF and NUL"])
   :retry   event-retry
   :comment (optional [string? "a String"])})

(def broadcast
  "Of `org.httpkit.server/broadcast!`. `:block` is left to the channels: one slow peer
  must not keep the data from the others."
  {:close-after-send? anything
   :on-overflow       (optional (one-of :close :reject))})

(def publish
  "Of `org.httpkit.topics/publish!`."
  (assoc broadcast
    :except (optional [#(instance? AsyncChannel %) "a channel"])))

(def bridge
  "Of `org.httpkit.topics/bridge`."
  {:publish   [ifn? "a function of a topic and bytes"]
   :subscribe [ifn? "a function of a topic and a function of bytes"]})

(def event-stream
  "Of `org.httpkit.sse/stream`."
  (merge (select-keys channel [:on-open :on-close :on-drain :max-pending-bytes :on-overflow :compression])
    {:heartbeat limit
     :retry     event-retry
     :headers   (optional [map? "a map of headers"])}))

(def event-callbacks
  "Of `org.httpkit.sse/connect`."
  {:on-open  (function "the response")
   :on-event (function "an event")
   :on-error (function "a throwable")
   :on-close (function "no arguments")})

(def monitoring
  "Of `org.httpkit.stats/micrometer-bind!` and `opentelemetry-bind!`."
  {:labels (optional [#(and (map? %) (every? label-name? (keys %)) (every? string? (vals %)))
                      "a map from Strings or keywords to Strings"])})

(def stop
  "Of `server-stop!` and the function that `run-server` returns."
  {:timeout any-int})

(def drain
  "Of `server-drain!`."
  {:timeout  (integer 0)
   :ws-grace (integer 0)})
