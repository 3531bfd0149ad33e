(ns org.httpkit.client
  "An asynchronous HTTP client.

  `request` and the verbs (`get`, `post` ...) send a request and return at once;
  deref what they return, or give them a callback. Failures are delivered, not
  thrown: the result then has an `:error`.

    @(get \"http://example.org\")
    (get \"http://example.org\" (fn [{:keys [status body error]}] ...))"
  (:refer-clojure :exclude [get])
  (:require
   [clojure.string      :as str]
   [clojure.walk        :as walk]
   [org.httpkit.encode  :refer [base64-encode]]
   [org.httpkit.options :as options]
   [org.httpkit.sni-client :as sni-client]
   [org.httpkit.utils   :as utils])
  (:import
   [clojure.lang IBlockingDeref IDeref IPending Keyword MultiFn]
   [java.io InputStream]
   [java.net SocketAddress URI URLEncoder]
   [java.nio ByteBuffer]
   [java.util List Locale Map]
   [java.util.concurrent CancellationException ExecutorService Future ThreadPoolExecutor TimeUnit]
   [java.util.concurrent.atomic AtomicInteger AtomicReference]
   [javax.net.ssl SSLContext SSLEngine]
   [org.httpkit Authority HttpMethod HttpUtils]
   [org.httpkit.client
    HttpClient HttpClient$AddressFinder HttpClient$ChannelFactory
    HttpClient$SSLEngineURIConfigurer IFilter IFilter$MaxBodyFilter
    IResponseHandler Location MultipartBody MultipartEntity RequestConfig
    RespListener SniConfigurer]
   [org.httpkit.logger ContextLogger EventLogger EventNames]))

(def ^:private warned
  "Which names have been warned of: every request would do so again."
  (atom #{}))

(defn- warn-of-unknown! [what known opts]
  (doseq [k (remove known (keys opts))]
    (when (options/first-time! warned [what k])
      (HttpUtils/printWarning (options/unknown-name what known k)))))

(defn new-worker
  "Makes a pool for `:worker-pool`, which decodes responses and runs callbacks.
  See `org.httpkit.utils/new-worker` for options and result; the defaults are
  a virtual thread per response on Java 21+, before it as many threads as cores
  (2 at least) and an unbounded queue.

  Options:
    :allow-virtual? ; Use virtual threads where there are any? (default true)
    :n-min-threads  ; Threads kept (default cores, min 2)
    :n-max-threads  ; Threads at most (default 2 x cores, min 2)
    :n-threads      ; Both of the above
    :queue-type     ; `:linked` or `:array` (default `:linked`)
    :queue-size     ; Responses that may wait (default unbounded)
    :keep-alive-msecs ; Idle life of threads beyond the minimum (default 60000)
    :prefix         ; Of thread names (default \"http-kit-client-worker-\")

  Other options are warned of on standard error."
  {:arglists '([{:keys [allow-virtual? n-min-threads n-max-threads n-threads queue-type
                        queue-size keep-alive-msecs prefix] :as opts}])}
  [opts]
  (let [opts (options/as-map "new-worker" opts)]
    (warn-of-unknown! "new-worker" options/worker opts)
    (utils/new-worker
     {:default-prefix       "http-kit-client-worker-"
      :default-queue-type   :linked
      :n-min-threads-factor 1
      :n-max-threads-factor 2
      :keep-alive-msecs     60000}
     opts)))

(def default-worker_
  "Delay of the worker that serves requests without a `:worker-pool`."
  (delay
    (let [{:keys [pool] :as worker} (new-worker {})]
      ;; Idle threads end, all of them: they would keep the class loader that they came from.
      (when (instance? ThreadPoolExecutor pool)
        (.allowCoreThreadTimeOut ^ThreadPoolExecutor pool true))
      worker)))

;;;; Clients

(defn- ssl-configurer
  "The built-in configurers are handed over as such: what they ask for can be
  done without an SSLEngine."
  [opts]
  (let [f (clojure.core/get opts :ssl-configurer ::default)]
    (cond
      (nil? f) HttpClient$SSLEngineURIConfigurer/NOP
      (or (= f ::default) (identical? f sni-client/ssl-configurer)) SniConfigurer/DEFAULT
      (instance? HttpClient$SSLEngineURIConfigurer f) f
      :else (reify HttpClient$SSLEngineURIConfigurer
              (configure [_ engine uri] (f engine uri))))))

(defn- event-names ^EventNames [names]
  (cond
    (nil? names)                 EventNames/DEFAULT
    (instance? EventNames names) names
    :else                        (EventNames. names)))

(defn- address-finder [f]
  (reify HttpClient$AddressFinder
    (findAddress [_ uri]
      ;; Here, as in http-kit, and not before.
      (options/check options/client {:address-finder f})
      (f uri))))

(defn- new-client
  [{:keys [max-connections max-connections-per-host channel-factory error-logger event-logger
           bind-address]
    :as opts}]
  (HttpClient.
   (long (or max-connections -1))
   (if-let [f (:address-finder opts)]
     (address-finder f)
     HttpClient$AddressFinder/DEFAULT)
   (if channel-factory
     (reify HttpClient$ChannelFactory
       (createChannel [_ address] (channel-factory address)))
     HttpClient$ChannelFactory/DEFAULT)
   ^HttpClient$SSLEngineURIConfigurer (ssl-configurer opts)
   (if error-logger
     (reify ContextLogger (log [_ msg ex] (error-logger msg ex)))
     ContextLogger/ERROR_PRINTER)
   (if event-logger
     (reify EventLogger (log [_ event] (event-logger event)))
     EventLogger/NOP)
   (event-names (:event-names opts))
   ^SocketAddress bind-address
   (long (or max-connections-per-host -1))))

(defn make-client
  "Makes a client, for the `:client` option and `*default-client*`: connections
  of its own, and a daemon thread that drives them. `client-stop!` ends it.

  Options:
    :max-connections ; To all hosts, idle ones included; further requests wait
                     ; (default nil, unlimited; also -1)
    :max-connections-per-host
                     ; To one host (default nil, unlimited)
    :address-finder  ; (fn [URI]) => SocketAddress to connect to, called once per
                     ; request, with the proxy's URI if there is one
                     ; (default resolves the host)
    :channel-factory ; (fn [SocketAddress]) => open SocketChannel, called once per
                     ; connection with what `:address-finder` returned, be it
                     ; unresolved; connected here unless it is (default TCP)
    :ssl-configurer  ; (fn [SSLEngine URI]), called for every https request
                     ; (default `sni-client/ssl-configurer`; nil for none, then
                     ; host names are not verified)
    :error-logger    ; (fn [msg ex]) for what a callback throws, and for faults
                     ; that belong to no response, e.g. a `:filter` that throws
                     ; (default prints to System.err)
    :event-logger    ; (fn [event-name]) (default none)
    :event-names     ; Map of replacements for event names, e.g.
                     ; {\"clientImpossible\" \"my.event\"}, or `EventNames`
    :bind-address    ; Local SocketAddress of connections (default any)

  Other options are warned of on standard error, once each. Throws
  IllegalArgumentException or ClassCastException, with the option's name, for
  values that these options cannot have."
  {:arglists '([{:keys [max-connections max-connections-per-host address-finder channel-factory
                        ssl-configurer error-logger event-logger event-names bind-address]
                 :as opts}])}
  [opts]
  (let [opts (options/as-map "make-client" opts)]
    (options/check options/client (dissoc opts :address-finder))
    (warn-of-unknown! "make-client" options/client opts)
    (new-client opts)))

(def default-client
  "Delay of the client of requests that name none: SNI, host names verified."
  (delay (make-client {})))

(def legacy-client
  "Delay of a client that verifies certificates but not for which host they are.
  Prefer `default-client`."
  (delay (HttpClient.)))

(def insecure-client
  "Delay of the client of `:insecure?` requests that name none: SNI, host names
  not verified."
  (delay (HttpClient. -1 HttpClient$AddressFinder/DEFAULT
           (SniConfigurer. true false)
           ContextLogger/ERROR_PRINTER EventLogger/NOP EventNames/DEFAULT)))

(def ^:dynamic *default-client*
  "The client, or delay of one, of requests without `:client`; nil and a delay of
  nil mean `default-client`. Read when a request is made, by the calling thread."
  default-client)

(defn client-stats
  "Counts of `client` (or a delay of one), all 0 once it is stopped:

    {:connections  _ ; Open ones, idle ones and connects under way included
     :idle         _ ; Kept alive, unused
     :connecting   _ ; Connects under way
     :active       _ ; Requests that have a connection
     :queued       _ ; Requests that wait for one
     :opened       _ ; Connections made in total
     :requests     _ ; Requests in total
     :reused       _ ; of these, served by a kept-alive connection
     :retried      _ ; Times that a kept-alive connection turned out to be dead
     :native-tls   _ ; Connections that used the built-in TLS
     :java-hosted  _ ; Connections carried by Java: a `:channel-factory`,
                     ; `:sslengine`, own `:ssl-configurer` or SSLContext
     :buffered-bytes _} ; Native memory that holds parts of responses"
  [client]
  (let [[connections idle active queued opened requests reused retried
         native-tls hosted buffered connecting]
        (.stats ^HttpClient (force client))]
    {:connections connections :idle idle :connecting connecting
     :active active :queued queued :opened opened :requests requests
     :reused reused :retried retried :native-tls native-tls
     :java-hosted hosted :buffered-bytes buffered}))

(defn client-stop!
  "Stops `client` (or a delay of one): its requests fail with an IOException, its
  connections are closed. Returns nil when that is done; can be repeated."
  [client]
  (.stop ^HttpClient (force client)))

(defn- choose-client ^HttpClient [client insecure?]
  (or client
      (when insecure? @insecure-client)
      (force *default-client*)
      @default-client))

(defn make-ssl-engine
  "An SSLEngine for `:sslengine`, from the SSLContext `ctx`, by default the JVM's
  current default context. It is good for one connection."
  (^SSLEngine [] (make-ssl-engine (SSLContext/getDefault)))
  (^SSLEngine [^SSLContext ctx] (.createSSLEngine ctx)))

(defn max-body-filter
  "A `:filter` that aborts a request whose body has more than `max-length` bytes,
  as received or decoded: its `:error` is an `AbortException`.

  Throws ArithmeticException if `max-length` is no int."
  [max-length]
  (IFilter$MaxBodyFilter. (Math/toIntExact (long max-length))))

;;;; From options to a request

(defn url-encode
  "`x` as a String, form-url-encoded as UTF-8; nil gives \"\"."
  [x]
  (URLEncoder/encode (str x) "UTF-8"))

(defn- sub-key [k sub]
  (str (if (instance? clojure.lang.Named k) (name k) k) "[" (name sub) "]"))

(defn- nest-maps
  "{:a {:b 1}} => {\"a[b]\" 1}, at any depth. A 2-vector whose second is a map is
  taken for a map entry, as it always was."
  [params]
  (walk/prewalk
   (fn [x]
     (if (and (vector? x) (map? (second x)))
       (let [[k m] x]
         (reduce-kv (fn [acc sub v] (assoc acc (sub-key k sub) v)) {} m))
       x))
   params))

(defn- nest-indexed
  "[:a [{:b 1}]] => ([\"a[0][b]\" 1])"
  [[k v]]
  (cond
    (map? v)        (mapcat (fn [[sub x]] (nest-indexed [(sub-key k sub) x])) v)
    (sequential? v) (mapcat (fn [i x] (nest-indexed [(sub-key k (str i)) x])) (range) v)
    :else           [[k v]]))

(defn- encode-param [style [k v]]
  (let [k (name k)
        pair (fn [k v] (str (url-encode k) "=" (url-encode v)))]
    (cond
      (not (sequential? v))      (pair k v)
      (= style :comma-separated) (pair k (str/join "," v))
      :else
      (let [k (if (= style :array) (str k "[]") k)]
        (if (seq v)
          (str/join "&" (map #(pair k %) v))
          (pair k nil))))))

(defn query-string
  "`params`, a map or seq of pairs, as a query string or form body:
  {:a 1 :b {:c \"x y\"}} => \"a=1&b%5Bc%5D=x+y\". Nil values are empty.

  `nested-param-style`, for {:v [1 2]}:
    nil              ; v=1&v=2
    :array           ; v[]=1&v[]=2
    :comma-separated ; v=1,2
    :indexed         ; v[0]=1&v[1]=2; the style for maps in vectors

  Keys are Named, else ClassCastException. Maps with more than 8 keys lose their
  order."
  ([params] (query-string params nil))
  ([params nested-param-style]
   (->> (if (= nested-param-style :indexed)
          (mapcat nest-indexed params)
          (nest-maps params))
        (map #(encode-param nested-param-style %))
        (str/join "&"))))

(defn- without-headers
  "`headers` less those with one of the lower-case `names`, in any case."
  [headers names]
  (into {} (remove (fn [[k _]] (contains? names (.toLowerCase (str k) Locale/ROOT)))) headers))

(defn- set-header [headers ^String header value]
  (assoc (without-headers headers #{(.toLowerCase header Locale/ROOT)}) header value))

(defn- basic-auth-value [basic-auth]
  (let [^String pair (if (string? basic-auth)
                       basic-auth
                       (str (first basic-auth) ":" (second basic-auth)))]
    (str "Basic " (base64-encode (.getBytes pair "UTF-8")))))

(defn- add-query [^String url params style]
  (let [fragment (str/index-of url "#")
        base     (if fragment (subs url 0 fragment) url)]
    (str base
         (if (str/includes? base "?") "&" "?")
         (query-string params style)
         (when fragment (subs url fragment)))))

(defn- multipart-entities ^List [multipart form-params]
  (mapv (fn [{:keys [name content filename content-type]}]
          (MultipartEntity. ^String name content ^String filename ^String content-type))
        (into (list* multipart)
              (map (fn [[k v]] {:name (name k) :content (str v)}))
              form-params)))

(defn- coerce-multipart [{:keys [multipart multipart-mixed? form-params] :as req} encode]
  (let [entities (multipart-entities multipart form-params)
        boundary (MultipartEntity/genBoundary entities)
        mixed?   (boolean multipart-mixed?)]
    (-> req
        (update :headers set-header "Content-Type"
                (str (if mixed? "multipart/mixed" "multipart/form-data") "; boundary=" boundary))
        (assoc :body (encode boundary entities mixed?)))))

(defn- coerce-body [{:keys [multipart form-params nested-param-style] :as req} encode]
  (cond
    multipart   (coerce-multipart req encode)
    form-params (-> req
                    (update :headers set-header "Content-Type" "application/x-www-form-urlencoded")
                    (assoc :body (query-string form-params nested-param-style)))
    :else       req))

(defn- coerce-method
  "An HttpMethod, or the name of a method that it has no constant for."
  [^Keyword method]
  (if (options/further-methods method)
    (.toUpperCase (name method) Locale/ROOT)
    (HttpMethod/fromKeyword method)))

(defn- coerce-with
  "`encode` makes the body from boundary, multipart entities and mixed?."
  [{:keys [url method query-params nested-param-style basic-auth oauth-token user-agent] :as req}
   encode]
  (cond-> (assoc req
            :method  (coerce-method (or method :get))
            :headers (:headers req)
            :body    (:body req))
    query-params (assoc :url (add-query url query-params nested-param-style))
    true         (coerce-body encode)
    oauth-token  (update :headers set-header "Authorization" (str "Bearer " oauth-token))
    (and basic-auth (not oauth-token))
    (update :headers set-header "Authorization" (basic-auth-value basic-auth))
    user-agent   (update :headers set-header "User-Agent" user-agent)))

(defn- coerce-req
  "The request map with what its options mean folded into `:url`, `:method` (see
  `coerce-method`), `:headers` and `:body`."
  [req]
  (coerce-with req (fn [boundary entities mixed?]
                     (MultipartEntity/encode boundary entities mixed?))))

(defn- coerce-streamed
  "As `coerce-req`, but large files in a multipart body are left where they are."
  [req]
  (coerce-with req (fn [boundary entities mixed?]
                     (MultipartBody/of boundary entities mixed?))))

(defn- coercion ^long [as]
  (case as
    :none           0
    :auto           1
    :text           2
    :stream         3
    :byte-array     4
    :raw-byte-array 5))

(defn- to-int ^long [x]
  (Math/toIntExact (long x)))

;;;; One call, over all its redirects

(def ^:private ^:dynamic *in-callback?* false)

(def ^:private cancelled (Object.))

(defn- new-control
  "What the hops of one call share: the latest hop's canceller (a Runnable), or
  `cancelled`, how far its end is, and when the call has to be over."
  [deadline]
  {:hop         (AtomicReference.)
   :stage       (AtomicInteger.)
   :deadline    deadline
   :deadline-at (when deadline (+ (System/nanoTime) (* 1000000 (long deadline))))})

(defn- set-hop! [{:keys [^AtomicReference hop]} ^Runnable canceller]
  (loop []
    (let [current (.get hop)]
      (cond
        (identical? current cancelled)             (.run canceller)
        (.compareAndSet hop current canceller) nil
        :else                                  (recur)))))

(defn- cancel! [{:keys [^AtomicReference hop]}]
  (let [latest (.getAndSet hop cancelled)]
    (when-not (or (nil? latest) (identical? latest cancelled))
      (.run ^Runnable latest))))

(defn- cancelled? [{:keys [^AtomicReference hop]}]
  (identical? (.get hop) cancelled))

(defn- check-deadlock! []
  (when *in-callback?*
    (throw (Exception. "Deref of a response in a callback: this could wait for its own thread (deadlock-guard). Pass on what the callback gets, or give :deadlock-guard? false."))))

(defn- guarded
  "The result of a request: its promise, refusing to wait in callbacks, and a
  Future."
  [promise control]
  (reify
    IDeref
    (deref [_] (check-deadlock!) (deref promise))

    IBlockingDeref
    (deref [_ timeout-ms timeout-val]
      (check-deadlock!)
      (deref promise timeout-ms timeout-val))

    IPending
    (isRealized [_] (realized? promise))

    Future
    (cancel [this _]
      (if (.isDone this)
        false
        (do (cancel! control) true)))
    (isCancelled [_] (cancelled? control))
    (isDone [_] (or (cancelled? control) (realized? promise)))
    (get [_]
      (check-deadlock!)
      (when (cancelled? control) (throw (CancellationException.)))
      (let [value (deref promise)]
        (when (cancelled? control) (throw (CancellationException.)))
        value))
    (get [_ timeout unit]
      (check-deadlock!)
      (when (cancelled? control) (throw (CancellationException.)))
      (let [value (deref promise (.toMillis ^TimeUnit unit timeout) cancelled)]
        (cond
          (cancelled? control)           (throw (CancellationException.))
          (identical? value cancelled) (throw (java.util.concurrent.TimeoutException.))
          :else                          value)))))

(defn- bare-opts [opts]
  (vary-meta opts #(not-empty (dissoc % ::control))))

;;;; The end of a call
;;
;; It has one, whatever throws: the callback, a logger, or the JVM because the heap is full. Then nothing can be made
;; any more, so the last resort is made with the request. And Clojure makes an object of a `try` that does not end its
;; function, so each of these is a function of its own.

(def ^:private out-of-memory
  (doto (OutOfMemoryError. "No memory for the response")
    (.setStackTrace (make-array StackTraceElement 0))))

;; `stage`: 0 before the end, 1 from then on, 2 once the callback is called.
(deftype ^:private Ending [promise opts callback client stage last-resort])

(defn- new-ending [promise opts callback client {:keys [stage]}]
  (let [opts (bare-opts opts)]
    (Ending. promise opts callback client stage {:opts opts :error out-of-memory})))

(defn- call-back [^Ending ending response]
  (binding [*in-callback?* true]
    (.set ^AtomicInteger (.-stage ending) 2)
    ((.-callback ending) response)))

(defn- callback-failed [^Ending ending t]
  (let [{:keys [method url] :as opts} (.-opts ending)]
    (.logError ^HttpClient (.-client ending)
               (str (.toUpperCase (name (or method :get)) Locale/ROOT) " " url "'s callback") t)
    {:opts opts :error t}))

(defn- call-back-at-last
  "What the callback makes of the last resort."
  [^Ending ending]
  (try (.set ^AtomicInteger (.-stage ending) 2)
       ((.-callback ending) (.-last-resort ending))
       (catch Throwable _ (.-last-resort ending))))

(defn- callback-value [^Ending ending response]
  (try (call-back ending response)
       (catch Throwable t
         (if (= 2 (.get ^AtomicInteger (.-stage ending)))
           (callback-failed ending t)
           (call-back-at-last ending)))))

(defn- value [^Ending ending response]
  (try (callback-value ending response)
       (catch OutOfMemoryError _ (.-last-resort ending))))

(defn- end!
  "Delivers `response`, or what the callback makes of it, or why it could not.
  False, and nothing happens, when that has begun before."
  [^Ending ending response]
  (if (.compareAndSet ^AtomicInteger (.-stage ending) 0 1)
    (do (deliver (.-promise ending)
                 (if (.-callback ending) (value ending response) response))
        true)
    false))

(defn- end-with-error [ending opts t]
  (try (end! ending {:opts opts :error t})
       (catch OutOfMemoryError _ (end! ending (.-last-resort ^Ending ending)))))

(defn- fail!
  ([^Ending ending t] (fail! ending (.-opts ending) t))
  ([^Ending ending opts t]
   (when-not (end-with-error ending opts t)
     (.logError ^HttpClient (.-client ending) "a request failed that had its end" t))))

;;;; Redirects

(def ^:private body-headers
  #{"content-encoding" "content-length" "content-type" "transfer-encoding"})

(def ^:private origin-headers
  #{"authorization" "cookie" "host"})

(defn- redirect? [^long status]
  (case status (301 302 303 307 308) true false))

(defn- origin [^String url]
  (let [uri        (URI. url)
        lower-case #(some-> ^String % (.toLowerCase Locale/ROOT))]
    [(lower-case (.getScheme uri)) (lower-case (.host (Authority/of uri))) (HttpUtils/getPort uri)]))

(defn- one-shot? [x]
  (or (instance? InputStream x) (instance? ByteBuffer x)))

(defn- one-shot-body? [{:keys [body multipart]}]
  (or (some #(one-shot? (:content %)) multipart)
      (and (not multipart) (one-shot? body))))

(defn- without-body [{:keys [method headers] :as opts}]
  (-> opts
      (dissoc :body :form-params :multipart)
      (assoc :method  (if (= method :head) :head :get)
             :headers (not-empty (without-headers headers body-headers)))))

(defn- with-body [opts]
  (when (one-shot-body? opts)
    (throw (Exception. "Cannot replay one-shot request body across redirect")))
  (assoc opts :method (or (:method opts) :get)))

(defn- without-credentials
  "Those for a proxy stay only where there is one: it is still the same."
  [{:keys [headers proxy-url proxy-host] :as opts}]
  (let [names (cond-> origin-headers
                (not (or proxy-url proxy-host)) (conj "proxy-authorization"))]
    (-> opts
        (dissoc :basic-auth :oauth-token)
        (assoc :headers (not-empty (without-headers headers names))))))

(defn- next-hop
  "Options of the request that follows the redirect. Throws the redirect's errors."
  [opts ^String url status ^String location]
  (let [to (Location/resolve url location)]
    (cond-> (if (or (contains? #{307 308} status) (:allow-unsafe-redirect-methods opts))
              (with-body opts)
              (without-body opts))
      (not= (origin url) (origin to)) (without-credentials)
      true (-> (dissoc :query-params)
               (assoc :url to)))))

(defn- follow-redirect
  "Options of the request that follows, with its trace."
  [{:keys [trace-redirects max-redirects] :as opts} url status ^Map headers]
  (let [trace         (vec trace-redirects)
        max-redirects (if (nil? max-redirects) 10 max-redirects)]
    (when (>= (count trace) (long max-redirects))
      (throw (Exception. (str "too many redirects: " max-redirects))))
    (if-let [location (.get headers "location")]
      (assoc (next-hop opts url status location) :trace-redirects (conj trace url))
      (throw (Exception. "No location header is present on redirect response")))))

;;;; Requests

(defn- keyword-headers [^Map headers]
  (persistent!
   (reduce (fn [acc ^java.util.Map$Entry e]
             (assoc! acc (keyword (.getKey e)) (.getValue e)))
           (transient {})
           headers)))

(declare request)

(defn- opts-of-success [^Ending ending]
  (dissoc (.-opts ending) :response))

(defn- redirect! [^Ending ending opts url status headers body]
  (when (instance? InputStream body)
    (.close ^InputStream body))
  (request (assoc (follow-redirect opts url status headers)
                  :response (.-promise ending) :client (.-client ending))
           (.-callback ending)))

(defn- succeed! [ending opts url status headers body]
  (if (and (:follow-redirects opts true) (redirect? status))
    (redirect! ending opts url status headers body)
    (end! ending {:opts    (opts-of-success ending)
                  :status  status
                  :headers (keyword-headers headers)
                  :body    body})))

(defn- response-handler [ending opts url]
  (reify IResponseHandler
    (onSuccess [_ status headers body]
      (try (succeed! ending opts url status headers body)
           (catch Throwable t (fail! ending (opts-of-success ending) t))))
    (onThrowable [_ t]
      (fail! ending t))))

(defn- request-config
  ^RequestConfig
  [{:keys [method headers body]}
   {:keys [timeout connect-timeout idle-timeout keepalive proxy-url proxy-host proxy-port tunnel?
           auto-compression? insecure? pool-timeout chunked? proxy-tunnel? max-response-bytes]
    :or {connect-timeout 60000 idle-timeout 60000 keepalive 120000 proxy-port -1
         tunnel? false auto-compression? true}}
   {:keys [deadline deadline-at]}]
  (let [config (RequestConfig. (when (instance? HttpMethod method) method) headers body
                               (to-int (or timeout connect-timeout))
                               (to-int (or timeout idle-timeout))
                               (to-int keepalive)
                               (if proxy-host (str proxy-host ":" proxy-port) proxy-url)
                               (boolean tunnel?) (boolean auto-compression?) (boolean insecure?))]
    (when (string? method) (.method config method))
    (when deadline     (.deadline config (to-int deadline) (long deadline-at)))
    (when pool-timeout (.poolTimeout config (to-int pool-timeout)))
    (when max-response-bytes (.maxResponseBytes config (long max-response-bytes)))
    (.chunked config (boolean chunked?))
    (.proxyTunnel config (boolean proxy-tunnel?))))

(defn- warn-of-slip! [opts k]
  (when (options/first-time! warned ["request" k])
    (when-let [meant (options/slip options/request opts k)]
      (HttpUtils/printWarning (str k " is no option of request; did you mean " meant "?")))))

(defn- check-request!
  "Throws for values that options cannot have, and warns of names that are nearly
  those of options: all others come back in `:opts`."
  [opts]
  (options/check options/request
    (cond-> opts
      (not (contains? opts :url)) (assoc :url nil)
      ;; It has the say instead.
      (:timeout opts)             (dissoc :connect-timeout :idle-timeout))
    #(warn-of-slip! opts %)))

(defn- forced
  "Value of option `k`, be it delayed."
  [opts k]
  (let [given (clojure.core/get opts k)
        value (force given)]
    (when (delay? given)
      (options/check options/request {k value}))
    value))

(defn ^:redef request
  "Sends a request and returns at once: an object to deref, with or without a
  timeout, that is also a `java.util.concurrent.Future` (`future-cancel` aborts
  the request and closes its connection).

  Its value is the response map, or what `callback` returns for that map:

    {:opts opts :status 200 :headers {:content-type _} :body _} ; Any HTTP status
    {:opts opts :error ex} ; Failed; `ex` is a `TimeoutException`,
                           ; `java.net.ConnectException`, `ProtocolException` ...

  Thrown are only mistakes in options, with the option's name, and parameters or
  parts that cannot be encoded: NullPointerException for nil, ClassCastException
  for a wrong class, else mostly IllegalArgumentException. The callback is called once,
  on the worker pool, with the response map; if it throws, the value is
  {:opts opts :error ex}, and the client's `:error-logger` gets `ex`.

  Request options (unknown ones come back in `:opts`; a name that is an option's but
  for a letter or two is warned of on standard error, once):
    :url                ; Required, a String
    :method             ; Keyword of a registered method (default `:get`)
    :headers            ; {String value}; a seq, Collection or array gives a line
                        ; per element, nil none, not even the automatic one;
                        ; Proxy-Authorization is sent to proxies only
    :body               ; String, byte[], ByteBuffer, File, InputStream (closed) or
                        ; seq of things to join. Large Files, and InputStreams of
                        ; known length (FileInputStream, or a Content-Length
                        ; header), are read while they are sent
    :chunked?           ; Send the body with chunked transfer coding, read while it
                        ; is sent? (default false)
    :query-params       ; Added to the URL, see `query-string`
    :form-params        ; Sent as form body, replaces `:body`
    :nested-param-style ; Of both, see `query-string`
    :multipart          ; [{:name _ :content _ :filename _ :content-type _}],
                        ; content a String, Number, byte[], ByteBuffer, File or
                        ; InputStream
    :multipart-mixed?   ; Send multipart/mixed instead of multipart/form-data?
    :basic-auth         ; [user password], any sequence, or \"user:password\"
    :oauth-token        ; Bearer token
    :user-agent
    :auto-compression?  ; Ask for gzip or deflate? (default true)

  Response options:
    :as                 ; `:auto` (default), String or `BytesInputStream` by status
                        ; and content type; `:text`; `:byte-array`; `:stream`, an
                        ; InputStream of what arrives, to be closed;
                        ; `:raw-byte-array`, `:none`: not decompressed
    :max-response-bytes ; Most bytes of a body, decompressed unless `:as` says
                        ; otherwise; more are a ContentTooLargeException (default
                        ; what the heap has room for, for all responses that are
                        ; being received together; any number for `:stream`)
    :filter             ; `IFilter` that may abort, see `max-body-filter`
    :worker-pool        ; ExecutorService (or delay) that decodes and calls back
                        ; (default that of `default-worker_`)
    :response           ; Promise to deliver the value to (default a new one)
    :deadlock-guard?    ; Refuse a deref inside of callbacks? (default true)

  Times, in msecs:
    :connect-timeout    ; From submission to connected, less DNS (default 60000)
    :idle-timeout       ; Longest silence on the connection (default 60000)
    :timeout            ; Both of the above; 0 lasts 200 ms, less than 0 none
    :deadline           ; From this call to the last byte, DNS and redirects
                        ; included (default none)
    :pool-timeout       ; Longest wait for a connection under the client's limits
                        ; (default none, `:connect-timeout` covers it)
    :keepalive          ; How long the connection may idle afterwards; 0 or less:
                        ; a connection of its own (default 120000)

  Redirects (301 302 303 307 308):
    :follow-redirects   ; (default true)
    :max-redirects      ; (default 10)
    :trace-redirects    ; URLs visited before, they count too
    :allow-unsafe-redirect-methods
                        ; Keep method and body on 301-303? (default false: GET)

  Connection:
    :client             ; Client or delay of one, see `make-client`
                        ; (default `*default-client*`)
    :insecure?          ; Accept any certificate? (default false)
    :sslengine          ; SSLEngine for this request, see `make-ssl-engine`
    :proxy-url          ; \"http://host:port\" or https, user:password@ allowed;
                        ; \"socks5://...\" needs `:proxy-tunnel? true`
    :proxy-host :proxy-port
                        ; Same, \"http://host\" and port; they win
    :proxy-tunnel?      ; Tunnel through the proxy: end-to-end TLS for https.
                        ; CONNECT, or SOCKS5 if `:proxy-url` is \"socks5://...\"
                        ; (default false: the proxy reads every request)
    :tunnel?            ; Refused with a proxy, see `:proxy-tunnel?`"
  {:arglists '([{:keys [url method headers body query-params form-params nested-param-style
                        multipart multipart-mixed? basic-auth oauth-token user-agent
                        auto-compression? as max-response-bytes filter worker-pool response deadlock-guard?
                        timeout connect-timeout idle-timeout deadline pool-timeout keepalive
                        follow-redirects max-redirects trace-redirects
                        allow-unsafe-redirect-methods client insecure? sslengine
                        proxy-url proxy-host proxy-port proxy-tunnel? tunnel? chunked?]
                 :as opts} & [callback]])}
  [{:keys [filter response as deadlock-guard? insecure? sslengine deadline]
    :or   {as :auto deadlock-guard? true filter IFilter/ACCEPT_ALL}
    :as   opts}
   & [callback]]
  (check-request! opts)
  (let [control  (or (::control (meta opts)) (new-control (some-> deadline long (max 0))))
        opts     (vary-meta opts assoc ::control control)
        coerced  (coerce-streamed opts)
        url      (:url coerced)
        kind     (coercion as)
        config   (request-config coerced opts control)
        client   (choose-client (forced opts :client) insecure?)
        promise  (or response (promise))
        pool     (or (forced opts :worker-pool) (:pool @default-worker_))
        ending   (new-ending promise opts callback client control)
        listener (RespListener. (response-handler ending opts url)
                                filter ^ExecutorService pool (int kind))]
    (set-hop! control (.submit client ^String url config (when-not insecure? sslengine) listener))
    (if deadlock-guard?
      (guarded promise control)
      promise)))

(defn- callback? [x]
  (or (fn? x) (keyword? x) (instance? MultiFn x) (var? x)))

(defn- request-with [method url [opts callback]]
  (if (callback? opts)
    (request {:url url :method method} opts)
    (request (assoc opts :url url :method method) callback)))

(defmacro ^:private defverb [verb]
  (let [method (keyword verb)]
    `(defn ~verb
       ~(str "Sends a " (.toUpperCase (name verb) Locale/ROOT) " request, see `request` for options and result.

  `callback` may take the place of `opts`: a function, keyword or multimethod.")
       {:arglists '([~'url ~'& [~'opts ~'callback]] [~'url ~'& [~'callback]])}
       [url# & args#]
       (request-with ~method url# args#))))

(defverb get)
(defverb delete)
(defverb head)
(defverb post)
(defverb put)
(defverb options)
(defverb patch)
(defverb propfind)
(defverb proppatch)
(defverb lock)
(defverb unlock)
(defverb report)
(defverb acl)
(defverb copy)
(defverb move)
