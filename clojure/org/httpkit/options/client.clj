(ns ^:no-doc org.httpkit.options.client
  "The allowed values of the client's options, in tables as `org.httpkit.options` describes them. Not API."
  (:require
   [org.httpkit.options :refer [any-int anything class-thrown event-names function integer number-thrown one-of
                                optional unless-none whole]])
  (:import
   [java.net SocketAddress]
   [java.util List Map Map$Entry]
   [java.util.concurrent ExecutorService]
   [javax.net.ssl SSLEngine]
   [org.httpkit HttpMethod]
   [org.httpkit.client HttpClient HttpClient$SSLEngineURIConfigurer IFilter]))

(set! *warn-on-reflection* true)

(def ^:private any-long
  [#(and (number? %) (<= Long/MIN_VALUE % Long/MAX_VALUE)) "an integer" number-thrown])

(defn- instance
  "Entry for an instance of `class`."
  [class expectation]
  [#(instance? class %) expectation class-thrown])

(defn- callable?
  "Whether `f` does more than look something up in its argument, or its argument in itself."
  [f]
  (and (ifn? f) (not (or (coll? f) (keyword? f) (symbol? f)))))

(defn- delayed
  "The table entry that also allows a delay, whose value is checked when it is forced."
  [[valid? expectation & more]]
  (into [#(or (delay? %) (valid? %)) (str expectation ", a delay of one")] more))

(def client
  "Of `make-client`."
  {:max-connections          (unless-none any-long)
   :max-connections-per-host (unless-none (whole any-long))
   :address-finder           (unless-none [ifn? "a function of a URI" class-thrown])
   :channel-factory          (function "a SocketAddress")
   :ssl-configurer           (optional [#(or (callable? %) (instance? HttpClient$SSLEngineURIConfigurer %))
                                        "a function of SSLEngine and URI"])
   :error-logger             (function "message and throwable")
   :event-logger             (function "the event's name")
   :event-names              event-names
   :bind-address             (optional (instance SocketAddress "a SocketAddress"))})

(def further-methods
  "Registered or widely used methods without a constant in HttpMethod."
  #{:ban :baseline-control :bind :checkin :checkout :label :link :merge :mkactivity :mkcalendar
    :mkredirectref :mkworkspace :notify :orderpatch :purge :query :rebind :search :subscribe
    :unbind :uncheckout :unlink :unsubscribe :update :updateredirectref :version-control})

(def ^:private known-methods
  (into further-methods (map #(.KEY ^HttpMethod %)) (HttpMethod/values)))

(defn- method-thrown [^String message v]
  (if (keyword? v)
    (RuntimeException. message)
    (ClassCastException. message)))

(defn- nil-or-class-thrown [^String message v]
  (if (nil? v)
    (NullPointerException. message)
    (ClassCastException. message)))

(defn- collection? [v]
  (and (seqable? v) (not (string? v))))

(def ^:private array-class (class (object-array 0)))

(defn- sequence? [v]
  (or (instance? List v) (instance? array-class v)))

(defn- headers?
  "A seq of pairs works as in http-kit: if another option adds a header."
  [v]
  (or (instance? Map v)
      (and (sequential? v)
           (every? #(or (instance? Map$Entry %) (and (vector? %) (= 2 (count %)))) v))))

(def event-source
  "Of `org.httpkit.sse/connect`, beside those of `request`; `events` checks the size, too."
  {:reconnect?      anything
   :max-event-bytes anything})

(def ^:private msecs
  (assoc any-int 1 (str "msecs, an integer of at most " Integer/MAX_VALUE)))

(def request
  "Of `request`."
  (merge
    (zipmap [:body :nested-param-style :multipart-mixed? :oauth-token :user-agent :auto-compression?
             :deadlock-guard? :follow-redirects :allow-unsafe-redirect-methods :insecure?
             :proxy-host :proxy-port :proxy-tunnel? :tunnel? :chunked?]
            (repeat anything))
    {:url              [string? "a String such as \"http://host:port/path\"" nil-or-class-thrown]
     :method           (unless-none [known-methods "the keyword of a known method, such as :get or :purge" method-thrown])
     :headers          (optional [headers? "a map from Strings to values" class-thrown])
     :query-params     (unless-none [collection? "a map or a seq of pairs"])
     :form-params      (unless-none [collection? "a map or a seq of pairs"])
     :multipart        (unless-none [#(and (collection? %) (or (empty? %) (not (map? %)))) "a seq of maps {:name _ :content _}"])
     :basic-auth       (unless-none ^:secret [#(or (string? %) (sequence? %))
                                              "[user password] or \"user:password\"" class-thrown])
     :as               (one-of :auto :text :byte-array :stream :raw-byte-array :none)
     :filter           (optional (instance IFilter "an IFilter, such as max-body-filter makes"))
     :worker-pool      (unless-none (delayed (instance ExecutorService "an ExecutorService, such as the :pool of new-worker's result")))
     :response         (unless-none [callable? "a promise" class-thrown])
     :timeout          (unless-none msecs)
     :connect-timeout  msecs
     :idle-timeout     msecs
     :deadline         (unless-none (whole msecs))
     :pool-timeout     (unless-none (whole msecs))
     :max-response-bytes (unless-none (integer 0 Long/MAX_VALUE))
     :keepalive        msecs
     :max-redirects    (optional any-long)
     :trace-redirects  (unless-none [collection? "a seq of URLs"])
     :client           (unless-none (delayed (instance HttpClient "an HttpClient, see make-client")))
     :sslengine        (unless-none (instance SSLEngine "an SSLEngine, see make-ssl-engine"))
     :proxy-url        (optional (instance String "a String such as \"http://host:port\""))}))
