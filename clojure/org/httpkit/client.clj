(ns org.httpkit.client
  "An asynchronous HTTP client.

  `request` and the verbs (`get`, `post` ...) send a request and return immediately;
  deref the result, or pass a callback. Failures are delivered, not thrown: the
  result then has an `:error`.

    @(get \"http://example.org\")
    (get \"http://example.org\" (fn [{:keys [status body error]}] ...))"
  (:refer-clojure :exclude [get])
  (:require
   [org.httpkit.client.checks    :as checks]
   [org.httpkit.client.coerce    :as coerce]
   [org.httpkit.client.ending    :as ending]
   [org.httpkit.client.params    :as params]
   [org.httpkit.client.redirects :as redirects]
   [org.httpkit.logging :as logging]
   [org.httpkit.options :as options]
   [org.httpkit.options.client :as client-options]
   [org.httpkit.sni-client :as sni-client]
   [org.httpkit.utils   :as utils])
  (:import
   [clojure.lang MultiFn]
   [java.io InputStream]
   [java.net SocketAddress]
   [java.nio.channels SocketChannel]
   [java.util Locale Map]
   [java.util.concurrent ExecutorService ThreadPoolExecutor]
   [javax.net.ssl SSLContext SSLEngine]
   [org.httpkit.client
    BackgroundThreads Ending HttpClient HttpClient$AddressFinder HttpClient$ChannelFactory
    HttpClient$SSLEngineURIConfigurer IFilter IFilter$MaxBodyFilter
    PromptHandler PromptHandler$Arrived RespListener SniConfigurer]
   [org.httpkit.jni Abi]
   [org.httpkit.logger ContextLogger EventLogger EventNames]))

(set! *warn-on-reflection* true)

(defn new-worker
  "Makes a pool for `:worker-pool`, which decodes responses and runs callbacks.
  See `org.httpkit.utils/new-worker` for options and result; the defaults are
  a virtual thread per response on Java 21+, and before that a thread per core
  (at least 2) and an unbounded queue.

  Options:
    :allow-virtual? ; Use virtual threads if available? (default true)
    :n-min-threads  ; Threads kept (default cores, min 2)
    :n-max-threads  ; Maximum threads (default 2 x cores, min 2)
    :n-threads      ; Both of the above
    :queue-type     ; `:linked` or `:array` (default `:linked`)
    :queue-size     ; Maximum queued responses (default unbounded)
    :keep-alive-msecs ; How long threads beyond the minimum may idle (default 60000)
    :prefix         ; Of thread names (default \"http-kit-client-worker-\")

  Other options get a warning on standard error.

    (get \"http://localhost:8080/\" {:worker-pool (:pool (new-worker {:n-threads 4 :allow-virtual? false}))})"
  {:arglists '([{:keys [allow-virtual? n-min-threads n-max-threads n-threads queue-type
                        queue-size keep-alive-msecs prefix] :as opts}])}
  [opts]
  (let [opts (options/as-map "new-worker" opts)]
    (checks/warn-of-unknown! "new-worker" options/worker opts)
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
  "The built-in configurers are passed on as they are: their settings need no
  SSLEngine."
  [opts]
  (let [f (clojure.core/get opts :ssl-configurer ::default)]
    (cond
      (nil? f) HttpClient$SSLEngineURIConfigurer/NOP
      (or (= f ::default) (identical? f sni-client/ssl-configurer)) SniConfigurer/DEFAULT
      (instance? HttpClient$SSLEngineURIConfigurer f) f
      :else (reify HttpClient$SSLEngineURIConfigurer
              (configure [_ engine uri] (f engine uri))))))

(defn- address-finder [f]
  (reify HttpClient$AddressFinder
    (findAddress [_ uri]
      ;; Here, as in http-kit, and not before.
      (options/check client-options/client {:address-finder f})
      (options/returned :address-finder SocketAddress (f uri)))))

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
       (createChannel [_ address]
         (options/returned :channel-factory SocketChannel (channel-factory address))))
     HttpClient$ChannelFactory/DEFAULT)
   ^HttpClient$SSLEngineURIConfigurer (ssl-configurer opts)
   (logging/context-logger error-logger ContextLogger/ERROR_PRINTER)
   (logging/event-logger event-logger)
   (logging/event-names (:event-names opts))
   ^SocketAddress bind-address
   (long (or max-connections-per-host -1))))

(defn make-client
  "Makes a client, for the `:client` option and `*default-client*`, with its own
  connections and a daemon thread that drives them. `client-stop!` stops it.

  Options:
    :max-connections ; To all hosts, including idle ones; further requests are
                     ; queued (default nil, unlimited; also 0 or less)
    :max-connections-per-host
                     ; To one host name and port (of the address, if there is an
                     ; `:address-finder`; any port through a proxy without a
                     ; tunnel), through the same proxy (default nil, unlimited)
    :address-finder  ; (fn [URI]) => SocketAddress to connect to, called once per
                     ; request, with the proxy's URI if there is one; with a
                     ; `:deadline`, on another thread (default resolves the host)
    :channel-factory ; (fn [SocketAddress]) => open SocketChannel, called for each
                     ; attempt to connect: to the result of `:address-finder`,
                     ; even if unresolved, or to the host's addresses in turn;
                     ; connected here if not yet (default TCP)
    :ssl-configurer  ; (fn [SSLEngine URI]), called for every https request
                     ; (default `sni-client/ssl-configurer`; nil for none, then
                     ; host names are not verified)
    :error-logger    ; (fn [msg ex]) for exceptions in callbacks, and errors that
                     ; belong to no response, e.g. a `:filter` that throws
                     ; (default prints to System.err)
    :event-logger    ; (fn [event-name]) (default none)
    :event-names     ; Map of replacements for event names, e.g.
                     ; {\"clientImpossible\" \"my.event\"}, or `EventNames`
    :bind-address    ; Local SocketAddress of connections (default any)

  Other options get a warning on standard error, once each. Throws
  IllegalArgumentException, ClassCastException or, for too large numbers,
  ArithmeticException, with the option's name, for invalid values; for those of
  `:address-finder`, each request fails with it.

    (def own (make-client {:max-connections-per-host 8}))
    @(get \"http://localhost:8080/\" {:client own})"
  {:arglists '([{:keys [max-connections max-connections-per-host address-finder channel-factory
                        ssl-configurer error-logger event-logger event-names bind-address]
                 :as opts}])}
  [opts]
  (let [opts (options/as-map "make-client" opts)]
    (options/check client-options/client (dissoc opts :address-finder))
    (checks/warn-of-unknown! "make-client" client-options/client opts)
    (checks/warn-of-unknown-events! (:event-names opts))
    (new-client opts)))

;; Once: a reload of this namespace keeps the clients, their connections and threads.

(defonce ^{:doc "Delay of the client for requests without one: SNI, host names verified."}
  default-client
  (delay (make-client {})))

(defonce ^{:doc "Delay of a client that verifies certificates, but not their host names. Prefer
  `default-client`."}
  legacy-client
  (delay (HttpClient.)))

(defonce ^{:doc "Delay of the client for `:insecure?` requests without one: SNI, host names not
  verified."}
  insecure-client
  (delay (HttpClient. -1 HttpClient$AddressFinder/DEFAULT
           (SniConfigurer. true false)
           ContextLogger/ERROR_PRINTER EventLogger/NOP EventNames/DEFAULT)))

(def ^:dynamic *default-client*
  "The client, or delay of one, for requests without `:client`; nil and a delay of
  nil mean `default-client`. Read by the calling thread when it makes a request.

    (binding [*default-client* own] @(get \"http://localhost:8080/\"))"
  default-client)

(defn- the-client ^HttpClient [what client]
  (let [forced (force client)]
    (when-not (instance? HttpClient forced)
      (options/refuse! what " of " (options/shown-alone forced)
        ": expected an HttpClient, see make-client, or a delay of one"))
    forced))

(defn client-stats
  "Counts of `client` (or a delay of one), all 0 once it is stopped:

    {:connections  _ ; Open ones, including idle ones and connects in progress
     :idle         _ ; Kept alive, unused
     :connecting   _ ; Connects in progress
     :active       _ ; Requests that have a connection, or for which one is made
     :queued       _ ; Requests waiting for one
     :opened       _ ; Connections made in total
     :requests     _ ; Requests in total
     :reused       _ ; Times that a request was given a kept-alive connection
     :retried      _ ; Times that a kept-alive connection turned out to be dead
     :native-tls   _ ; Connections that used the built-in TLS
     :java-hosted  _ ; Connections carried by Java: a `:channel-factory`,
                     ; `:sslengine`, own `:ssl-configurer` or SSLContext
     :buffered-bytes _} ; Native memory that holds parts of responses

    (:queued (client-stats own))"
  [client]
  (let [counts (.stats (the-client "client-stats" client))]
    {:connections    (aget counts Abi/STAT_OPEN)
     :idle           (aget counts Abi/STAT_IDLE)
     :connecting     (aget counts Abi/STAT_CONNECTING)
     :active         (aget counts Abi/STAT_ACTIVE)
     :queued         (aget counts Abi/STAT_QUEUED)
     :opened         (aget counts Abi/STAT_OPENED)
     :requests       (aget counts Abi/STAT_REQUESTS)
     :reused         (aget counts Abi/STAT_REUSED)
     :retried        (aget counts Abi/STAT_RETRIED)
     :native-tls     (aget counts Abi/STAT_NATIVE_TLS)
     :java-hosted    (aget counts Abi/STAT_HOSTED)
     :buffered-bytes (aget counts Abi/STAT_BUFFERED)}))

(defn client-stop!
  "Stops `client` (or a delay of one): its requests fail with an IOException, its
  connections are closed. Returns nil once done; may be called again.

    (client-stop! own)"
  [client]
  (.stop (the-client "client-stop!" client)))

(defn- callers-default ^HttpClient []
  (let [client (force *default-client*)]
    (when-not (or (not client) (instance? HttpClient client))
      (throw (ClassCastException.
               (str "*default-client* " (options/shown client)
                 ": expected an HttpClient, see make-client, a delay of one, or nil"))))
    client))

(defn- choose-client ^HttpClient [client insecure?]
  (or client
      (when insecure? @insecure-client)
      (callers-default)
      @default-client))

(defn make-ssl-engine
  "An SSLEngine for `:sslengine`, from the SSLContext `ctx`, by default the JVM's
  current default context. It can be used for one connection.

    @(get \"https://localhost:8443/\" {:sslengine (make-ssl-engine my-ssl-context)})"
  (^SSLEngine [] (make-ssl-engine (SSLContext/getDefault)))
  (^SSLEngine [^SSLContext ctx] (.createSSLEngine ctx)))

(defn max-body-filter
  "A `:filter` that aborts a request whose body has more than `max-length` bytes,
  as received or, unless `:as` is `:raw-byte-array` or `:none`, decoded: its `:error`
  is an `AbortException`.

  Throws ClassCastException if `max-length` is no number, ArithmeticException if it
  does not fit an int.

    @(get \"http://localhost:8080/\" {:filter (max-body-filter 100000)})"
  [max-length]
  (when-not (and (number? max-length) (<= Integer/MIN_VALUE max-length Integer/MAX_VALUE))
    (let [message (str "max-body-filter of " (options/shown-alone max-length)
                    ": expected a number of bytes, at most " Integer/MAX_VALUE)]
      (throw (if (number? max-length) (ArithmeticException. message) (ClassCastException. message)))))
  (IFilter$MaxBodyFilter. (int (long max-length))))

;;;; From options to a request

(defn url-encode
  "`x` as a String, form-url-encoded as UTF-8; nil gives \"\".

    (url-encode \"x y&z\") ; => \"x+y%26z\""
  [x]
  (params/url-encode x))

(defn query-string
  "`params`, a map or seq of pairs, as a query string or form body:
  {:a 1 :b {:c \"x y\"}} => \"a=1&b%5Bc%5D=x+y\". Nil values are empty.

  `nested-param-style`, for {:v [1 2]}:
    nil              ; v=1&v=2
    :array           ; v[]=1&v[]=2
    :comma-separated ; v=1,2
    :indexed         ; v[0]=1&v[1]=2; the style for maps in vectors

  In the order of `params`; a literal map of more than 8 keys has none. Throws
  ClassCastException for keys that are not Strings, Keywords or Symbols,
  IllegalArgumentException if `params` are no pairs.

    (query-string {:v [1 2]} :array) ; => \"v%5B%5D=1&v%5B%5D=2\""
  ([params] (params/query-string params))
  ([params nested-param-style] (params/query-string params nested-param-style)))

(def ^:private coerce-req
  "Some programs use this Var to test their requests."
  coerce/request)

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
  (request (assoc (redirects/follow opts url status headers)
                  :response (.-promise ending) :client (.-client ending))
           (.-callback ending)))

(defn- redirect? [opts status]
  (and (:follow-redirects opts true) (redirects/redirect? status)))

(defn- response [ending status headers body]
  {:opts    (opts-of-success ending)
   :status  status
   :headers (keyword-headers headers)
   :body    body})

(defn- succeed! [ending opts url status headers body]
  (if (redirect? opts status)
    (redirect! ending opts url status headers body)
    (ending/end! ending (response ending status headers body))))

(defn- convert [ending ^PromptHandler$Arrived arrived]
  (let [body (.body arrived)] ; First: it parses the headers, too.
    (response ending (.status arrived) (.headers arrived) body)))

(defn- response-handler
  "`prompt?`: only a deref takes the response, so it can convert it, and a failure needs no thread."
  [ending opts url prompt?]
  (reify
    Object
    (toString [_] (checks/description opts url))
    PromptHandler
    (onArrival [_ arrived]
      (boolean (and prompt?
                    (not (redirect? opts (.status arrived)))
                    (ending/end-later! ending #(convert ending arrived)))))
    (onFailure [_ t]
      (boolean (and prompt? (ending/fail-now! ending t))))
    (onSuccess [_ status headers body]
      (try (succeed! ending opts url status headers body)
           (catch Throwable t (ending/fail! ending (opts-of-success ending) t))))
    (onThrowable [_ t]
      (ending/fail! ending t))))

(defn- default-pool
  "Callbacks may hold all threads of a fixed pool. What is left to do for a `prompt?` request does not wait for them."
  ^ExecutorService [prompt?]
  (let [{:keys [type pool]} @default-worker_]
    (if (and prompt? (not= :virtual type)) (BackgroundThreads/following) pool)))

(defn ^:redef request
  "Sends a request and returns, without waiting for the peer, an object to deref,
  with or without a timeout, that is also a `java.util.concurrent.Future`
  (`future-cancel` aborts the request and closes its connection).

  With `:deadlock-guard? false` it is only a promise.

  Its value is the response map, or what `callback` returns for that map:

    {:opts opts :status 200 :headers {:content-type _} :body _} ; Any HTTP status
    {:opts opts :error ex} ; Failed; `ex` is a `TimeoutException`,
                           ; `java.net.ConnectException`, `ProtocolException` ...

  Only invalid options, by name, and parameters or parts that cannot be encoded
  throw: NullPointerException for nil, ClassCastException for a wrong class, else
  mostly IllegalArgumentException. Streams to be sent are closed then, too.

  The callback is called once, on the worker pool, with the response map; if it
  throws, the value is {:opts opts :error ex}, and the client's `:error-logger` gets
  `ex`.

  Request options (unknown ones are returned in `:opts`; one within a letter or two
  of an option gets a warning on standard error, once):
    :url                ; Required, a String
    :method             ; Keyword of a registered method (default `:get`)
    :headers            ; {String value}; a seq, Collection or Object[] gives a line
                        ; per element, nil none, not even the automatic one
                        ; (Host and Content-Length need a value);
                        ; Proxy-Authorization is sent only to proxies
    :body               ; String, byte[], ByteBuffer, File, InputStream (closed) or
                        ; seq of things to join. Large Files, and InputStreams of
                        ; known length (FileInputStream, or a Content-Length
                        ; header), are read as they are sent; other InputStreams
                        ; before this returns, see `:chunked?`
    :chunked?           ; Send the body with chunked transfer coding, read, parts
                        ; included, as it is sent? (default false)
    :query-params       ; Added to the URL, see `query-string`
    :form-params        ; Sent as a form body, replaces `:body`; with `:multipart`,
                        ; its first parts, in reverse order
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
                        ; InputStream of the arriving body, to be closed;
                        ; `:raw-byte-array`, `:none`: not decompressed
    :max-response-bytes ; Maximum bytes of a body, decompressed unless `:as` says
                        ; otherwise, else ContentTooLargeException (default what
                        ; fits in the heap, shared by all responses being
                        ; received; no limit for `:stream` without `:filter`)
    :filter             ; `IFilter` that may abort, see `max-body-filter`
    :worker-pool        ; ExecutorService (or delay) that decodes and calls back
                        ; (default that of `default-worker_`)
    :response           ; Promise to deliver the value to (default a new one)
    :deadlock-guard?    ; Refuse deref inside callbacks? (default true); if false,
                        ; the result cannot be cancelled, either

  Times, in msecs:
    :connect-timeout    ; From submission to connected, without DNS (default 60000)
    :idle-timeout       ; Longest silence of the peer, which neither sends nor takes a
                        ; byte (default 60000); not counted while the body's source,
                        ; or the reader of the response, keeps it waiting, until the
                        ; response is complete
    :timeout            ; Both of the above. Of all three, 0 means 200 ms, a
                        ; negative number no time
    :deadline           ; From this call to the last byte, including DNS and
                        ; redirects; 0 or less fails immediately (default none)
    :pool-timeout       ; Longest wait for a connection under the client's limits;
                        ; 0 for no wait (default none, also below 0:
                        ; `:connect-timeout` covers it)
    :keepalive          ; How long the connection may idle afterwards; 0 or less:
                        ; a new connection, not kept (default 120000)

  Redirects (301 302 303 307 308):
    :follow-redirects   ; (default true)
    :max-redirects      ; (default 10)
    :trace-redirects    ; URLs visited so far, which also count
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
    :proxy-tunnel?      ; Tunnel through the proxy: end-to-end TLS for https. By
                        ; CONNECT, or SOCKS5 if `:proxy-url` is \"socks5://...\"
                        ; (default false: the proxy reads every request). Invalid
                        ; without `:proxy-url` or `:proxy-host`, which may be nil
    :tunnel?            ; Refused with a proxy, see `:proxy-tunnel?`

    @(request {:url \"http://localhost:8080/\" :method :post :form-params {:a 1} :timeout 5000})"
  {:arglists '([{:keys [url method headers body query-params form-params nested-param-style
                        multipart multipart-mixed? basic-auth oauth-token user-agent
                        auto-compression? as max-response-bytes filter worker-pool response deadlock-guard?
                        timeout connect-timeout idle-timeout deadline pool-timeout keepalive
                        follow-redirects max-redirects trace-redirects
                        allow-unsafe-redirect-methods client insecure? sslengine
                        proxy-url proxy-host proxy-port proxy-tunnel? tunnel? chunked?]
                 :as opts} & [callback]])}
  [{:keys [filter response as deadlock-guard? insecure? sslengine]
    :or   {as :auto deadlock-guard? true filter IFilter/ACCEPT_ALL}
    :as   opts}
   & [callback]]
  (try
    (let [opts     (doto (checks/request-map opts) (checks/check-request!))
          _        (checks/check-callback! callback)
          control  (ending/control opts)
          opts     (ending/with-control opts control)
          coerced  (coerce/streamed-request opts)
          url      (:url coerced)
          kind     (coerce/response-kind as)
          config   (coerce/request-config coerced opts control)
          client   (choose-client (checks/forced opts :client) insecure?)
          own      (:promise control)
          promise  (or response own)
          prompt?  (and deadlock-guard? (identical? promise own) (not (or callback (:worker-pool opts))))
          pool     (or (checks/forced opts :worker-pool) (default-pool prompt?))
          ending   (ending/new-ending promise opts callback client control)
          listener (RespListener. (response-handler ending opts url prompt?)
                                  filter ^ExecutorService pool (int kind))]
      (ending/begin-hop! control listener)
      (.exec client url config (when-not insecure? (or sslengine nil)) listener)
      (if deadlock-guard?
        (ending/guarded promise control)
        promise))
    (catch Throwable t
      (coerce/close-sources! opts t)
      (throw t))))

(defn- callback? [x]
  (or (fn? x) (keyword? x) (instance? MultiFn x) (var? x)))

(defn- request-with [method url [opts callback]]
  (if (callback? opts)
    (request {:url url :method method} opts)
    (request (assoc (checks/request-map opts) :url url :method method) callback)))

(defmacro ^:private defverb [verb]
  (let [method (keyword verb)]
    `(defn ~verb
       ~(str "Sends a " (.toUpperCase (name verb) Locale/ROOT) " request, see `request` for options and result.

  `callback` may take the place of `opts`: a function, keyword, multimethod or Var.

    @(" verb " \"http://localhost:8080/things\" {:timeout 1000})")
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
