(ns org.httpkit.server
  "HTTP server for Ring handlers, with streaming and WebSockets.

  Start and stop    ; `run-server`, `server-stop!`, `server-drain!`, `server-status`, `server-port`,
                    ; `server-join`, `server-stats`, `notify-systemd!`
  TLS               ; `server-ssl-port`, `server-reload-tls!`
  Channels          ; `as-channel` and the `Channel` protocol: `send!`, `close`, `on-close` ...
  Parts of files    ; `file-part`, `wrap-range`
  Request bodies    ; `on-body`, `trailers`; `send-informational!`
  Threads           ; `new-worker`
  Handshakes by hand; `websocket-handshake-check`, `send-checked-websocket-handshake!`"
  (:require
   [org.httpkit.handshake :as handshake]
   [org.httpkit.options :as options]
   [org.httpkit.options.server :as tables]
   [org.httpkit.ranges :as ranges]
   [org.httpkit.server.config :as config]
   [org.httpkit.server.lifecycle :as lifecycle]
   [org.httpkit.server.sockets :as sockets]
   [org.httpkit.server.statistics :as statistics]
   [org.httpkit.server.tls :as tls]
   [org.httpkit.server.upgrade :as upgrade]
   [org.httpkit.workers :as workers])
  (:import
   [java.io InputStream]
   [java.util ArrayList Collection Locale Map]
   [org.httpkit HttpUtils]
   [org.httpkit.server AsyncChannel BodyCallback Broadcast HttpServer Informational RequestBodyStream]))

(set! *warn-on-reflection* true)

;;;; Worker pools

(defn new-worker
  "Makes a worker pool with the server's defaults: on Java 21+ virtual threads
  (sizing options then have no effect), else a `ThreadPoolExecutor`. A server
  without a given pool has threads of its own, to which these options also apply:
  few at first, more while handlers keep all of them busy.

  Returns {:type :virtual :n-cores _ :pool _}, or
  {:type :fixed :n-cores _ :n-min-threads _ :n-max-threads _ :queue-type _
   :queue-size _ :queue _ :pool _}.

  Options:
    :allow-virtual? ; Use virtual threads if available?            (default true)
    :n-min-threads  ; Threads kept once needed   (default `:n-threads`, else 1 per core, min 2);
                    ; a server keeps at least one
    :n-max-threads  ; Maximum threads            (default `:n-threads`, else 16 per core, min 2)
    :n-threads      ; Both of the above, also called `:thread`
    :queue-type     ; `:array` or `:linked`                        (default `:array`)
    :queue-size     ; Maximum queued tasks, more are rejected      (default 20480)
    :keep-alive-msecs ; How long threads beyond the minimum may idle
                    ; (default 0, for a server's own threads 60000)
    :prefix         ; Of thread names, also `:worker-name-prefix`  (default \"http-kit-server-worker-\")

  Other options get a warning on standard error. Throws IllegalArgumentException
  if the sizes or queue type are invalid, ClassCastException for values of a wrong
  class.

    (run-server handler {:worker-pool (:pool (new-worker {:n-threads 8 :allow-virtual? false}))})"
  {:arglists '([{:keys [allow-virtual? n-min-threads n-max-threads n-threads thread queue-type
                        queue-size keep-alive-msecs prefix worker-name-prefix] :as opts}])}
  [opts]
  (let [opts (options/as-map "new-worker" opts)]
    (run! #(HttpUtils/printWarning %) (options/unknown-names "new-worker" tables/server-worker opts))
    (workers/worker (workers/server-spec opts))))

;;;; Server

(defprotocol IHttpServer
  (-server-stop! [server opts])
  (server-status [server] "Returns `:running`, `:draining`, `:stopping` or `:stopped`.

    (server-status server) ; => :running")
  (server-port   [server] "Returns the bound port, also after a stop; -1 for a Unix domain socket.
  The TLS port of a server with `:http? false`.

    (server-port server) ; => 8080"))

(extend-type HttpServer
  IHttpServer
  (server-status [server] (keyword (.toLowerCase (str (.getStatus server)) Locale/ROOT)))
  (server-port   [server] (.getPort server))
  (-server-stop! [server opts]
    (lifecycle/stop! server "server-stop!" (options/as-map "server-stop!" opts))))

(defn server-stop!
  "Stops `server`: it accepts no new connections, and WebSockets get close code
  1001. Requests that are running, or arrive on open connections, get time to
  complete, and what was sent, to WebSockets as well, time to be read; silent
  connections are closed after half of that time, 500 msecs at most. Blocks until
  then, and until the `on-close` callbacks have run (1 s at most).

  Returns a promise, delivered with true when the port is free again, or nil if
  the server was not running.

  Options:
    :timeout ; msecs that requests may take before they are interrupted and their
             ; connections closed (default 100); requests still queued then get 503

  Throws IllegalArgumentException if `server` is no server. It stops nothing then,
  nor if `:timeout` is invalid.

    @(server-stop! server {:timeout 5000})"
  {:arglists '([server] [server {:keys [timeout] :as opts}])}
  ([server]      (server-stop! server nil))
  ([server opts]
   (when-not (satisfies? IHttpServer server)
     (when (fn? server)
       (options/refuse! "server-stop! of a function: expected an HttpServer; call the function that"
         " run-server returns, or stop (:server (meta it))"))
     (lifecycle/the-server "server-stop!" server))
   (-server-stop! server opts)))

(defn server-drain!
  "Stops `server` gently and without blocking: it accepts no new connections (those
  that the kernel holds are served), each response says `Connection: Close` (unless
  its handler gave a `Connection` header, which may keep the connection until the
  time is over), silent connections are closed, and WebSockets get close code 1001.
  Requests and streams under way may continue, and what was sent may be read. Once
  all have ended, or the time is over, the server stops, as by `server-stop!`. Until
  then `server-status` is `:draining`.

  Returns a promise, delivered when the server has stopped and its port is free:

    {:requests n    ; Responses completed meanwhile
     :websockets n  ; WebSockets that were sent 1001
     :cut n}        ; Connections cut in a request, response, stream or message

  or nil if the server was not running. A second call returns a promise of the same
  drain. `server-stop!` shortens it.

  Options:
    :timeout  ; msecs that requests and streams may take (default 30000)
    :ws-grace ; msecs before WebSockets are closed       (default 0)

  Throws for options of a wrong value, as `run-server` does.

    @(server-drain! server {:timeout 20000}) ; => {:requests 12 :websockets 3 :cut 0}"
  {:arglists '([server] [server {:keys [timeout ws-grace] :as opts}])}
  ([server] (server-drain! server nil))
  ([server opts]
   (lifecycle/drain! (lifecycle/the-server "server-drain!" server) (options/as-map "server-drain!" opts))))

(defn server-ssl-port
  "Returns the bound TLS port, also after a stop; nil without TLS.

    (server-ssl-port server) ; => 8443"
  [server]
  (let [tls (.tls (lifecycle/the-server "server-ssl-port" server))]
    (when (.isOpen tls)
      (.port tls))))

(defn server-reload-tls!
  "Reads the certificates, keys and authorities of `server` again, for connections from
  now on; those that are open stay. Files that change are read again without this call,
  see `:keystore-scan-interval` of `run-server`.

  Returns {:certificates [{:subject String :names [String] :not-after Date}]}, a map for
  each of the server's own certificates.

  If a file is missing or wrong, throws what `run-server` throws for it, and nothing
  changes. Throws IllegalStateException if the server has no TLS port.

    (map :not-after (:certificates (server-reload-tls! server)))"
  [server]
  {:certificates (mapv tls/description (.reload (.tls (lifecycle/the-server "server-reload-tls!" server))))})

(defn server-stats
  "Returns the totals and the current state of `server` as a map; for a stopped server,
  the totals. Cheap enough to call once a second: 10,000 connections take some 2 ms.

    {:connections {:open n :idle n       ; Idle: no request to respond to, no WebSocket
                   :accepted n           ; With those refused
                   :refused n            ; By `:max-connections-per-ip`
                   :websockets n :tls n}
     :requests    {:total n              ; Received, also those that break a rule
                   :active n             ; Without a complete response
                   :rejected n           ; Got 503 because the queue (or `:worker-pool`) was full
                   :by-status {2 n ...}} ; Responses begun, by their first digit
     :bytes       {:in n :out n          ; Read, and accepted by sockets
                   :pending n            ; Queued for peers
                   :buffered n           ; Of requests that are still arriving
                   :held n               ; Of all buffers, see `:max-buffered-bytes`
                   :native n}            ; Allocated by the native library, for all
                                         ; servers and clients
     :timeouts    {:header n :idle n :body n :write n :handler n :ws n} ; Ended by these
     :latency-us  {:handler {:p50 n :p90 n :p99 n :max n}
                   :whole   {...}}       ; Since the call before this one
     :queue       {:waiting n :oldest-ms n ; 0 for a `:worker-pool`, which has its own queue, and
                                           ; while virtual threads take all work
                   :threads n :virtual n} ; Threads that take work; 0 for a `:worker-pool`
     :tls         {:handshakes n :resumed n :failed n}
     :access-log  {:entries n            ; Requests that are over
                   :lost n}              ; Of these, those that the log does not have
     :handles     n  ; Requests, channels ... that Java holds, of all servers and clients
     :since       #inst \"...\"}

  Latencies are from the end of a request's head: `:handler` to the head of its
  response, `:whole` to the end of a response of known length (written, or queued
  for a slow peer); they are rounded up by at most a quarter.

    (get-in (server-stats server) [:connections :open])"
  [server]
  (statistics/stats (lifecycle/the-server "server-stats" server)))

(defn server-join
  "Blocks until `server` has stopped. A stop waits for close handlers and the access
  log for a second at most, so a thread that these wait for should not call this.

    (defn -main [& _]
      (server-join (run-server #'app {:port 8080 :legacy-return-value? false})))"
  [server]
  (.join (lifecycle/the-server "server-join" server)))

(def ^:private no-ring-websockets?
  "Some programs ask this Var whether their tests can use Ring's WebSocket API."
  config/no-ring-websockets?)

(defn run-server
  "Starts a server for a Ring `handler` and returns a function that stops it:

    (def stop (run-server handler {:port 8090}))
    (:local-port (meta stop)) ; The bound port; `:ssl-port` is that of TLS
    (stop :timeout 500)       ; Returns nil; see `server-stop!` for what happens

  If the handler is a Var, it is looked up for each request: redefining it takes
  effect. The handler runs on the worker pool; if it throws, the exception is logged
  and the response is 500. Bodies are read there until they are streamed. A peer
  that reads slowly holds no thread, and is cut off after `:write-timeout`. Ring's
  StreamableResponseBody is written on a thread of its own: a virtual one if the
  default pool has them, else one of at most 256; more are queued.

  The server's thread is a daemon iff the calling thread is one, so
  that a main function which only starts a server keeps the JVM alive.

  Options:
    :ip                   ; Address to bind, IPv6 too by default (default \"0.0.0.0\")
    :port                 ; 0 for any free one                   (default 8090)
    :worker-pool          ; `ExecutorService` or delay of one; the server owns it
                          ; and shuts it down                    (default see `new-worker`)
    :max-body             ; Maximum bytes of a request body, else 413  (default 8 MiB)
    :request-buffer-size  ; Bytes of a body that are read before the handler runs. `:body`
                          ; of a longer one is a `RequestBodyStream`, read while it
                          ; arrives; `:max-body` may then exceed 2 GiB, nil for no
                          ; limit (default nil: the handler gets whole bodies)
    :body-window          ; Bytes of such a body received ahead of its reader at which
                          ; its sender has to wait               (default 256 KiB)
    :max-buffered-bytes   ; Bytes that all connections together may hold in native memory:
                          ; received and not yet handed over, or not yet sent. Beyond
                          ; it, requests whose body is still to come get 503, channels
                          ; with queued bytes are full (`:on-overflow`), and sockets are
                          ; not read ahead; 0 or nil for any number  (default a quarter of
                          ; the memory of machine or cgroup beyond the maximum heap; on
                          ; macOS and Windows, of that heap; at least 64 MiB)
    :max-ws               ; Maximum bytes of a WebSocket message, else close code
                          ; 1009                                 (default 4 MiB)
    :max-line             ; Maximum bytes, with CRLF, of a request or chunk-size line (else
                          ; 414) or header line (else 431)       (default 8192)
    :max-header-bytes     ; Maximum bytes of all these lines and trailers together,
                          ; else 431; 0 or nil for no limit
                          ; (default 65536, or `:max-line` if that is more)
    :max-headers          ; Maximum header lines and trailers of a request, else 431;
                          ; 0 or nil for no limit                (default 1000)
    :max-connections      ; Open connections. At the limit the oldest idle one is closed
                          ; for each new one; without idle ones, new ones wait in the
                          ; kernel's backlog, with one warning a second at most. Above
                          ; 90 %, responses have Connection: Close; 0 or nil for any
                          ; number                               (default nil)
    :max-connections-per-ip ; Open connections of one address; more are closed on arrival.
                          ; IPv6 counts by /64; with `:proxy-protocol`, the address of
                          ; the PROXY header counts; invalid with `:unix-socket`
                          ; without that; 0 or nil for any number
                          ;                                      (default nil)
    :max-requests-per-connection ; The response to the last one has Connection: Close,
                          ; whatever its handler gave; 0 or nil for any number
                          ;                                      (default nil)
    :header-timeout       ; Msecs from accepting, or from the first byte of a later
                          ; request, to the end of its head, else 408 and closed
                          ; (closed if no byte came)             (default 30000)
    :idle-timeout         ; Msecs between requests, else closed  (default 75000)
    :body-timeout         ; Msecs in which 1 KiB of a request body, or the rest, must
                          ; arrive, else 408 and closed          (default 30000)
    :write-timeout        ; Msecs in which the peer must take 1 KiB of a response or of
                          ; what a channel has queued, or the rest, else reset
                          ;                                      (default 60000)
    :handler-timeout      ; Msecs from a request's arrival, waiting for a thread included,
                          ; to the start of its response, else 503, and `on-close` with
                          ; `:server-close`. What the handler sends later has no
                          ; effect. Each read of a streamed body restarts the time;
                          ; while a read waits for the client, only
                          ; `:body-timeout` counts               (default nil)
    :interrupt-handlers?  ; Interrupt the thread of a handler that exceeds it? It is
                          ; not interrupted once it has returned   (default false)
    :ws-idle-timeout      ; Msecs in which either side of a WebSocket must send something,
                          ; else close code 1001. Of the client each byte counts, also of
                          ; a ping or pong; of the server, messages  (default nil)
                          ; Of these times, 0 or nil is no limit; all are enforced
                          ; within a second
    :legacy-timeouts?     ; As http-kit, no limit where none of the first four and
                          ; `:max-headers` is given?             (default false)
    :proxy-protocol       ; `:disable`, `:enable` (required) or `:optional`: PROXY
                          ; protocol v1 and v2                   (default `:disable`)
    :server-header        ; Value of Server, nil for none        (default \"http-kit\")
    :ring-async?          ; Call the handler with [request respond raise]? (default false)
    :legacy-unsafe-remote-addr? ; `:remote-addr` from X-Forwarded-For, which clients
                          ; can forge?                           (default true)
    :legacy-content-length? ; Ignore a handler's Content-Length on HEAD? (default true)
    :legacy-error-messages? ; Send a handler's exception message as the body of the
                          ; 500? It may leak internals.          (default true)
    :legacy-return-value? ; false: return an `HttpServer`, for `server-stop!` and
                          ; the like, instead of a function      (default true)
    :error-logger         ; (fn [msg throwable])                 (default to stderr)
    :warn-logger          ; (fn [msg throwable])                 (default to stderr)
    :event-logger         ; (fn [event-name])                    (default none)
    :event-names          ; {\"serverStatus404\" name ...}, or `EventNames`
    :access-log           ; Log of requests: a path, `:stdout`, (fn [entry]), or
                          ; {:file path-or-:stdout, :format f} with `:combined`, `:common`
                          ; or `:json`, see below                (default none)
    :listen-socket        ; A socket that listens already, instead of `:ip` and `:port`:
                          ; a descriptor, `:systemd` (a socket unit's, the one called
                          ; http if there are several), `:inherited` (descriptor 0), or
                          ; {:fd n}, {:name \"systemd's name\"}. A stop leaves it open.
                          ; With `:systemd`, READY=1 is sent      (default none)
    :unix-socket          ; Path of a Unix domain socket, instead of `:ip` and `:port`,
                          ; which then have no effect            (default none)
    :unix-socket-mode     ; Its permissions, such as 0660        (default by the umask)
    :unix-socket-replace? ; Replace a file on which nothing listens any more? A running
                          ; server is never replaced (default true, with `:address-finder`
                          ; false)
    :reuse-port?          ; May other processes listen on the port at the same time
                          ; (SO_REUSEPORT)?                      (default false)
    :address-finder       ; (fn []) -> `SocketAddress`, instead of `:ip` and `:port`;
                          ; Inet or Unix domain
    :channel-factory      ; (fn [address]) -> `ServerSocketChannel`, whose socket
                          ; options are copied; it is then closed
    :io-threads           ; I/O threads               (default half the cores, min 1)
    :backlog              ; Accept backlog; `:listen-socket` has one already (default 1024)
    :max-pending-messages ; WebSocket messages queued for a channel's callbacks
                          ; before its socket is no longer read  (default 256)
    :max-pending-bytes    ; bytes queued for a channel's slow peer before
                          ; `:on-overflow` applies               (default 16 MiB)
    :on-overflow          ; `:close` cuts the connection, `:block` blocks the sender,
                          ; `:reject` makes `send!` return false (default `:close`)
    :body-buffer-size     ; Bodies of unknown length (InputStream, seq) up to this
                          ; many bytes are buffered and sent with Content-Length.
                          ; Longer ones, and those that pause for some 20 ms, are
                          ; streamed in chunks (no Content-Length on HEAD). Larger
                          ; Files are streamed with their length (default 256 KiB)
    :compression          ; Compress responses with gzip for clients that accept it:
                          ; true, or a map, see below            (default false)
    :stop-on-shutdown?    ; Drain when the JVM shuts down?       (default false)
    :shutdown-timeout     ; msecs that this may take, with the former (default 15000)
  for TLS, see docs/tls.md,
    :ssl-port             ; Port for HTTP over TLS, 0 for any free one (default none)
    :ssl?                 ; Open it? With true and no `:ssl-port`: 443
                          ; (default: iff `:ssl-port` is given)
    :http?                ; Serve plain HTTP on `:port` too?     (default true)
    :keystore             ; Certificates and keys: path, File, URL, \"classpath:name\" or
                          ; `java.security.KeyStore`. All key entries are used, the one for
                          ; the name that a client asks for, else the first by alias
    :keystore-type        ; \"PKCS12\", \"JKS\" ...              (default recognised)
    :key-password         ; Of the store, and its entries unless `:key-manager-password`
    :key-manager-password ; Of the store's entries
    :tls                  ; Instead of a store: {:cert path :key path :key-password _ :ca path
                          ; :crl path :ocsp path} of PEM files, or a vector of such maps,
                          ; whose `:ca` and `:crl` are for all names, and so may not differ
    :client-auth          ; `:none`, `:want` (ask clients for a certificate) or `:need`
                          ; (refuse those without one)           (default `:none`)
    :truststore, :truststore-type, :trust-password ; Authorities for clients' certificates,
                          ; as `:keystore`; or `:ca` in `:tls`
    :ssl-protocols        ; Some of [\"TLSv1.3\" \"TLSv1.2\"]       (default both)
    :keystore-scan-interval ; Seconds between checks for changed files, which are then
                          ; read again; nil or 0: never          (default 60)
    :ssl-redirect?        ; Respond to plain HTTP with 308 to https? Not to what a PROXY
                          ; header of version 2 says came through TLS (default false)
    :http-versions        ; [:http1], the only value
  and those of `new-worker`, which may also be given as one map, `:pool-opts`, instead;
  as with http-kit, they have no effect with `:worker-pool`. Sizes have none on virtual
  threads, and `:event-names` has none without `:event-logger`.

  nil and false switch an option off or give its default, except for `:ip`, `:port`,
  `:max-body`, `:max-ws`, `:max-line` and `:proxy-protocol`. An option that needs another
  (`:shutdown-timeout`, `:body-window`, `:unix-socket-mode`, `:keystore`, `:truststore` ...)
  is invalid without it, but not beside one that is nil or false: a configuration may keep
  the options of what it switches off.

  Of `:compression`, which a response may override under the same key:
    :level       ; 1 (fast) to 9 (small)    (default 6 for whole bodies up to 64 KiB, else 1)
    :min-size    ; Bytes of the shortest whole body to compress  (default 860)
    :types       ; Set of media types, or predicate of one, in lower case (default text/*,
                 ; +json, +xml, and application/json, javascript, xml, wasm and the like)
    :window-bits ; A stream keeps 2 to the power of this many bytes, 9 to 15 (default 13)
    :encodings   ; Codings in order of preference; only \"gzip\" is built in
  Each `send!` on a stream can be decoded when it arrives. Not compressed: 204, 205,
  206, 304, HTTP/1.0, a given Content-Encoding or digest, `Cache-Control: no-transform`,
  responses without Content-Type, and Files over 1 MiB, or `:body-buffer-size` if that
  is more, which the kernel sends.

  Each request gets an entry in the access log, when the kernel has the last byte of its
  response, its connection ends, or its WebSocket does:
    {:time Date, :remote-addr String, :user String, :request-method :get, :uri \"/\",
     :query-string nil, :protocol \"HTTP/1.1\", :request-line String, :host String,
     :user-agent String, :referer String, :tls \"TLSv1.3\",
     :status n                 ; nil if no response was begun (499 in lines)
     :bytes-in n, :bytes-out n ; Of the bodies, or the frames of a WebSocket. What is
                               ; sent counts as it is sent: compressed, and with the
                               ; framing of chunks
     :msecs n                  ; From the end of the request's head to the entry
     :handler-msecs n          ; To the head of the response
     :end :done}               ; Or `:aborted`, `:timeout`
  The address is the peer's or that of its PROXY header, never X-Forwarded-For. What is
  no valid request has only its `:request-line`, cut after 1024 bytes. Each other text that
  a client has sent is cut after 8192 bytes. A thread of its own calls the function or
  writes the lines; entries that it has no time for are counted (`server-stats`), with one
  warning a minute. A file is appended to, and opened again when it is renamed.

  For invalid options, throws in this thread, before anything is bound, naming the
  option, its value and what is allowed: IllegalArgumentException, or, as http-kit,
  ClassCastException for values of a wrong class, NullPointerException for nil
  instead of a number and ArithmeticException for numbers beyond an int. Unknown
  names get one warning each through `:warn-logger`.
  Throws `java.net.BindException` if the address is in use, and
  `java.nio.channels.UnresolvedAddressException`, whose cause says more, for an
  unknown host. For TLS also `java.io.IOException`, if a file cannot be read or a
  password is wrong, and for an `:access-log` that cannot be opened, before anything
  is bound."
  {:arglists '([handler & [{:keys [ip port worker-pool pool-opts allow-virtual? n-min-threads
                                   n-max-threads n-threads thread queue-type queue-size prefix
                                   worker-name-prefix keep-alive-msecs max-body request-buffer-size body-window
                                   max-ws max-line max-buffered-bytes
                                   max-headers max-header-bytes
                                   max-connections max-connections-per-ip
                                   max-requests-per-connection proxy-protocol header-timeout idle-timeout
                                   body-timeout write-timeout handler-timeout ws-idle-timeout
                                   legacy-timeouts? server-header ring-async? legacy-unsafe-remote-addr?
                                   legacy-content-length? legacy-error-messages?
                                   legacy-return-value? error-logger warn-logger event-logger
                                   event-names address-finder channel-factory listen-socket
                                   unix-socket unix-socket-mode unix-socket-replace? reuse-port?
                                   io-threads backlog
                                   max-pending-messages max-pending-bytes on-overflow
                                   body-buffer-size stop-on-shutdown? shutdown-timeout
                                   compression access-log interrupt-handlers?
                                   ssl-port ssl? http? keystore keystore-type key-password
                                   key-manager-password truststore truststore-type trust-password
                                   client-auth ssl-protocols keystore-scan-interval tls
                                   ssl-redirect? http-versions] :as opts}]])}
  ([handler] (run-server handler nil))
  ([handler opts]
   (let [opts   (options/as-map "run-server" opts)
         server (lifecycle/start handler opts)]
     (if (get opts :legacy-return-value? true)
       (with-meta (lifecycle/stop-function server)
         (cond-> {:local-port (server-port server)
                  :server     server}
           (server-ssl-port server) (assoc :ssl-port (server-ssl-port server))))
       server))))

(defn notify-systemd!
  "Reports the program's state to systemd, see sd_notify(3): \"READY=1\",
  \"STOPPING=1\", \"STATUS=...\". For units of `Type=notify`.

  Returns true if it was sent, false if there is no service manager (NOTIFY_SOCKET is
  not set). Throws IOException if it cannot be told, IllegalArgumentException for a
  `state` that is no String.

    (notify-systemd! \"STATUS=warming up\")"
  [state]
  (when-not (string? state)
    (options/refuse! "notify-systemd! of " (options/shown-alone state) ": expected a String"))
  (sockets/notify! state (sockets/environment)))

;;;; Channels

(defprotocol Channel
  "A handler's channel to its client: an HTTP exchange or a WebSocket."
  (open? [ch] "Returns true iff the channel is open.

      (when (open? ch) (compute-and-send! ch))")
  (close [ch]
    "Closes the channel: ends the response, or closes the WebSocket with code 1000.
    Returns true for the call that closed it, false for every later one.

      (send! ch \"goodbye\" false)
      (close ch) ; => true")
  (websocket? [ch]
    "Returns true iff the request asked for a WebSocket, even before the handshake.

      (if (websocket? ch) \"frames\" \"one response\")")
  (send! [ch data] [ch data close-after-send?]
    "Sends `data`; blocks only under `:on-overflow :block`, or while it reads an
    InputStream or sequence, or a file of a stream, whole, on the calling thread:
    return long ones from the handler instead, or send pieces. Returns true if
    `data` was accepted (not necessarily delivered), false if the channel is closed.

    HTTP: the first send is a response map {:status _ :headers _ :body _}, or a
    body (status 200). Without headers its type is \"text/html; charset=utf-8\".
    With `close-after-send?` (default true) it is the whole response; with
    false it starts a stream, each further send is one chunk of it, and `close`
    or a send with true ends it. A body is nil, a String, byte array, `ByteBuffer`,
    InputStream, File, `file-part` or sequence: not Ring's StreamableResponseBody,
    which needs a thread of its own and only a returned response can have. A long
    File or `file-part` that is the whole response is sent by the kernel; one that
    starts or continues a stream is copied to the heap, and so is a direct or mapped
    `ByteBuffer`.

    WebSocket: a String is a text message; a byte array or InputStream a binary
    one; `Frame$PingFrame` and `Frame$PongFrame` are control frames; for a map, its
    `:body` is sent. `close-after-send?` (default false) closes with code 1000.

    Throws IllegalArgumentException, or RuntimeException on HTTP, for other
    types; the channel stays open.

      (send! ch {:status 200 :headers {\"Content-Type\" \"text/csv\"} :body \"a,b\\n\"} false)
      (send! ch \"1,2\\n\" false)
      (send! ch \"3,4\\n\") ; the last one")
  (on-receive [ch callback]
    "Sets (fn [message]) for WebSocket messages, String or byte array. It is called
    for one at a time, in order, on the worker pool. Throws if it is already set.

      (on-receive ch (fn [message] (send! ch message)))")
  (on-ping [ch callback]
    "Sets (fn [bytes]) for WebSocket pings, called after the pong was sent.

      (on-ping ch (fn [bytes] (note-life! ch)))")
  (on-close [ch callback]
    "Sets (fn [status]), called once when the channel closes, or immediately if it
    already has. By `close`, or a send that closes: at once, on the calling thread,
    even if a callback runs. Else, as when the peer closes: after the messages received
    before, unless their callback runs for more than 100 ms, and likewise after `:on-open`,
    also if it began with the channel closed. Not called for a 500 because the handler or
    `:on-open` threw. Status is

      :server-close      ; By `close`, the end of a response, a response of the server
                         ; (408, 503 ...), or, of a WebSocket, the server's stop
      :client-close      ; HTTP: the client disconnected, or its connection was cut, by a
                         ; stop, `:write-timeout`, or a failure in a stream
      :normal            ; WebSocket close code 1000
      :going-away        ; 1001, also if the client just disconnected
      :protocol-error    ; 1002
      :unsupported       ; 1003
      :no-status-received; 1005
      :abnormal          ; 1006
      :invalid-payload-data ; 1007
      :policy-violation  ; 1008
      :message-too-big   ; 1009
      :mandatory-extension ; 1010
      :internal-server-error ; 1011
      :tls-handshake     ; 1015
      :unknown           ; Any other code

      (on-close ch (fn [status] (swap! channels disj ch)))"))

(defn- callback!
  "`f`, or ClassCastException, as in http-kit, if it is no function."
  [what f]
  (when-not (or (nil? f) (ifn? f))
    (throw (ClassCastException. (str what " " (options/shown f) ": expected a function"))))
  f)

(extend-type AsyncChannel
  Channel
  (open?      [ch] (not (.isClosed ch)))
  (close      [ch] (.serverClose ch 1000))
  (websocket? [ch] (.isWebSocket ch))
  (send!
    ([ch data]                   (.send ch data (not (.isWebSocket ch))))
    ([ch data close-after-send?] (.send ch data (boolean close-after-send?))))
  (on-receive [ch callback] (.setReceiveHandler ch (callback! "on-receive" callback)))
  (on-ping    [ch callback] (.setPingHandler    ch (callback! "on-ping" callback)))
  (on-close   [ch callback] (.setCloseHandler   ch (callback! "on-close" callback))))

(defn pending-bytes
  "Returns the number of bytes queued on channel `ch` for its peer.

    (when (< (pending-bytes ch) 100000)
      (send! ch update))"
  [ch]
  (.pendingBytes (options/the-channel "pending-bytes of" ch)))

(defn- all-channels
  "A collection of what `channels` reduces to; throws if anything in it is no channel."
  ^Collection [channels]
  (when (or (keyword? channels) (string? channels) (instance? AsyncChannel channels))
    (options/refuse! "broadcast! to " (options/shown-alone channels) ": expected a collection of channels"))
  (reduce (fn [^ArrayList all ch]
            (doto all
              (.add (options/the-channel "broadcast! to" ch "channels, which as-channel passes to its callbacks"))))
    (ArrayList.)
    channels))

(defn broadcast!
  "Sends `data` on each of `channels` as `send!` does: it is encoded once, and peers
  that have not read it share one copy if it is large. Most of the time is still
  a system call per peer. Returns the number of channels that accepted it.

  `channels` is anything that `reduce` takes; WebSockets, streamed responses, and
  channels that are closed or whose response has not begun may be mixed.

  Options:
    :close-after-send? ; Closes each channel after it (default false, for HTTP too: a
                       ; response that has not begun becomes a stream)
    :on-overflow       ; `:close` or `:reject`, for channels whose queue is full; nil for
                       ; each channel's own policy (default nil). Those that block
                       ; do so after all other channels have the data

  What one thread sends, by `broadcast!` or `send!`, arrives in that order. Throws
  IllegalArgumentException, and sends nothing, for anything but channels, for unknown
  options and values, and for data that one of the WebSockets or streams cannot
  send. `:on-close` callbacks of channels that it closes run once all are closed. If one
  throws, or the data cannot begin a channel's response, the others still get the data, and
  then the first exception is thrown; those of further callbacks are logged.

    (broadcast! @channels \"the same for all\")"
  ([channels data] (broadcast! channels data nil))
  ([channels data {:keys [close-after-send? on-overflow] :as opts}]
   (let [opts (options/as-map "broadcast!" opts)]
     (options/check-all "broadcast!" tables/broadcast opts))
   (Broadcast/send (all-channels channels) data (boolean close-after-send?)
     (config/overflows on-overflow))))

;;;; Between request and response

(defn- channel-of ^AsyncChannel [what ring-req]
  (let [ch (:async-channel ring-req)]
    (if (instance? AsyncChannel ch)
      ch
      (options/refuse! what ": the request has no :async-channel: it comes from another server, or a middleware has"
        " taken it out"))))

(defn on-body
  "Calls `f`, a function of a byte array and whether it is the last one, with the body
  of a request piece by piece as it arrives, without holding a thread in between. Calls
  are made on the worker pool, in order, one at a time; the sender waits while one runs
  and `:body-window` bytes are there. The last array may be empty. A body that is no
  stream (see `:request-buffer-size`) is one call.

    (defn handler [req]
      (as-channel req
        {:on-open (fn [ch]
                    (let [size (atom 0)]
                      (on-body req (fn [bytes last?]
                                     (swap! size + (count bytes))
                                     (when last? (send! ch (str @size)))))))}))

  If the body cannot be read to its end, or `f` throws, `f` is not called again, and the
  response says so unless it has begun, as for a handler that reads `:body`. Returns nil.
  Throws IllegalStateException if the body is a stream that has such a function already, and
  IllegalArgumentException if `f` is no function, or `:body` is not the server's own."
  [ring-req f]
  (when-not (ifn? f)
    (options/refuse! "on-body of " (options/shown-alone f)
      ": expected a function of a byte array and whether it is the last one"))
  (let [body (:body ring-req)]
    (when-not (or (nil? body) (instance? InputStream body))
      (options/refuse! "on-body of :body " (options/shown body) ": expected the server's own body"))
    (BodyCallback/start (channel-of "on-body" ring-req) body f)))

(defn trailers
  "The trailers of a request whose `:body` is a stream (see `:request-buffer-size`): a
  map from lower-case names to values once the body has been read to its end; nil before
  that, and if there are none. Those of other requests are among their `:headers`.

    (slurp (:body req))
    (get (trailers req) \"x-checksum\")"
  [ring-req]
  (let [body (:body ring-req)]
    (when (instance? RequestBodyStream body)
      (.trailers ^RequestBodyStream body))))

(defn send-informational!
  "Sends an informational response before the response: 103 (Early Hints), 100 (Continue)
  or any other status from 100 to 199 but 101.

    (send-informational! req 103 {\"Link\" \"</style.css>; rel=preload; as=style\"})

  Returns true, or false if nothing was sent: the response has begun, the client is gone,
  or it speaks HTTP/1.0, which has none. Throws IllegalArgumentException for another
  status, and for headers that are no map."
  [ring-req status headers]
  (when-not (and (number? status) (<= 100 status 199) (== status (int status)) (not (== 101 status)))
    (options/refuse! "send-informational! of status " (options/shown status) ": expected 100 to 199, but not 101"))
  (when-not (or (nil? headers) (instance? Map headers))
    (options/refuse! "send-informational! of headers " (options/shown headers) ": expected a map, or nil"))
  (Informational/send (channel-of "send-informational!" ring-req) (int status) headers))

;;;; WebSocket handshake (RFC 6455 4.2)

(defn sec-websocket-accept
  "Returns the value of Sec-WebSocket-Accept for a Sec-WebSocket-Key.

    (sec-websocket-accept \"dGhlIHNhbXBsZSBub25jZQ==\") ; => \"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\""
  [sec-websocket-key]
  (handshake/accept sec-websocket-key))

(def ^{:deprecated "v2.4.0 (2020-07-30)"} accept
  "Old name of `sec-websocket-accept`."
  sec-websocket-accept)

(defn websocket-handshake-check
  "Returns the value for Sec-WebSocket-Accept if the Ring request is a valid
  WebSocket handshake, otherwise nil.

    (when-let [key (websocket-handshake-check req)]
      (send-checked-websocket-handshake! (:async-channel req) key))"
  [ring-req]
  (handshake/check ring-req))

(defn send-checked-websocket-handshake!
  "Responds with 101 and what `websocket-handshake-check` returned. Returns true.

    (send-checked-websocket-handshake! ch (websocket-handshake-check req))"
  [ch checked-sec-websocket-key]
  (.sendHandshake (options/the-channel "send-checked-websocket-handshake! of" ch)
                  (handshake/headers checked-sec-websocket-key))
  true)

(defn send-websocket-handshake!
  "Checks the Ring request and responds with 101. Returns true, or nil, sending
  nothing, if it is no valid handshake.

    (send-websocket-handshake! (:async-channel req) req)"
  [ch ring-req]
  (when-let [checked (websocket-handshake-check ring-req)]
    (send-checked-websocket-handshake! ch checked)))

(defn- open-websocket!
  [ch ring-req {:keys [on-receive on-ping on-open on-handshake-error subprotocols headers] :as opts}]
  (if-let [checked (websocket-handshake-check ring-req)]
    (do
      (when on-receive (org.httpkit.server/on-receive ch (partial on-receive ch)))
      (when on-ping    (org.httpkit.server/on-ping    ch (partial on-ping ch)))
      (upgrade/set-pings! ch opts)
      (if (or subprotocols headers)
        (upgrade/accept! ch ring-req checked opts)
        ;; As in http-kit: users' tests replace this function.
        (send-checked-websocket-handshake! ch checked))
      ;; Otherwise the handshake got 400: its body is on its way.
      (when (and on-open (not (upgrade/told? ch))) (on-open ch)))
    (if on-handshake-error
      (on-handshake-error ch)
      (send! ch (upgrade/rejection ring-req)))))

(defn- open-channel! [ring-req ch {:keys [init on-open on-close on-close-raw] :as opts}]
  (upgrade/prepare! ch opts)
  (when init (init ch))
  (upgrade/opening ch
    (fn []
      (when on-close (org.httpkit.server/on-close ch (partial on-close ch)))
      (when on-close-raw (.setCloseRingHandler (options/the-channel ":on-close-raw of" ch) (partial on-close-raw ch)))
      (cond
        (not (:websocket? ring-req)) (when on-open (on-open ch))
        ;; Otherwise `:init` has sent the response.
        (open? ch) (open-websocket! ch ring-req opts))))
  {:body ch})

(defn as-channel
  "Responds to a Ring request through a channel, HTTP or WebSocket, with the same
  callbacks. Returns the response for the handler to return, or nil if the request
  did not come from this server.

    (defn handler [req]
      (as-channel req
        {:on-open    (fn [ch]        (swap! channels conj ch))
         :on-receive (fn [ch msg]    (send! ch (str \"echo \" msg)))
         :on-close   (fn [ch status] (swap! channels disj ch))}))

  Options, each a function:
    :init               ; [ch], before everything else; sending here is the response
    :on-open            ; [ch], once it accepts sends: immediately, or after the handshake
    :on-receive         ; [ch message], WebSocket only, see `on-receive`
    :on-ping            ; [ch bytes],   WebSocket only, see `on-ping`
    :on-close           ; [ch status],  see `on-close`
    :on-handshake-error ; [ch], for a bad WebSocket handshake (default: responds with 400)
    :on-close-raw       ; [ch code reason], WebSocket close code and reason: the peer's,
                        ; or what it was sent by `close`, or for breaking a rule or limit;
                        ; 0 and \"\" for other closings by the server (a send that closes,
                        ; a stop, `:ws-idle-timeout`) and all of them with HTTP; -1 for an
                        ; HTTP client that disconnected
    :on-drain           ; [ch], when the bytes that made `send!` return false under
                        ; `:on-overflow :reject` have been written, unless `ch` is
                        ; closed by then; may run beside other callbacks

  Other options:
    :max-pending-bytes, :on-overflow, :compression ; As for `run-server`, for this channel
    :subprotocols   ; WebSocket: names in order of preference; the first that the
                    ; client offers is selected
    :headers        ; WebSocket: further headers of the handshake response
    :ping-interval  ; WebSocket: msecs of silence after which the server pings;
                    ; nil or 0 for none (default none)
    :ping-timeout   ; WebSocket: msecs to wait for any data after a ping before
                    ; closing as `:abnormal` (default `:ping-interval`)

  Messages may arrive before `:on-open` has returned, but if the client leaves meanwhile,
  or has left before, `:on-close` comes after it (or after 100 ms). Exceptions in callbacks
  are logged; one in `:on-open`, before the response has started, becomes a 500."
  {:arglists '([ring-req {:keys [init on-open on-receive on-ping on-close on-close-raw
                                 on-handshake-error on-drain max-pending-bytes on-overflow
                                 compression subprotocols headers ping-interval ping-timeout] :as opts}])}
  [ring-req opts]
  (if-let [ch (:async-channel ring-req)]
    (open-channel! ring-req ch opts)
    (upgrade/warn-of-missing-channel!)))

(defmacro with-channel
  "Deprecated, use `as-channel`. Evaluates `body` with `ch-name` bound to the
  request's channel, after the handshake if the request asks for a WebSocket."
  {:deprecated "v2.4.0 (2020-07-30)"}
  [ring-req ch-name & body]
  `(let [ring-req# ~ring-req
         ~ch-name  (:async-channel ring-req#)]
     (if (:websocket? ring-req#)
       (if-let [checked# (websocket-handshake-check ring-req#)]
         (do
           (send-checked-websocket-handshake! ~ch-name checked#)
           ~@body
           {:body ~ch-name})
         (cond-> {:status 400 :body "Bad Sec-WebSocket-Key header"}
           (not (contains? #{nil "13"} (get-in ring-req# [:headers "sec-websocket-version"])))
           (assoc-in [:headers "Sec-WebSocket-Version"] "13")))
       (do
         ~@body
         {:body ~ch-name}))))

;;;; Parts of files

(defn file-part
  "A body that is `length` bytes of a file, from `offset` on (0 is the first byte).
  `file` is a File, a Path, or a path as a String. Like a File as a body it is read as
  the peer takes it, by the kernel, and needs no memory, unless it is one of several
  sends on a channel.

    {:status  206
     :headers {\"Content-Range\" \"bytes 1000-1499/8000\"}
     :body    (file-part \"video.mp4\" 1000 500)}

  Throws IllegalArgumentException for numbers that are no integers or below 0, and for
  anything else as `file`.
  A file that is shorter when the response is sent makes it a 500, which is logged."
  [file offset length]
  (ranges/file-part file offset length))

(defn wrap-range
  "Ring middleware: a GET with a `Range` of bytes gets that part of a file (RFC 9110 14),
  so that downloads can be resumed and media players can seek.

    (run-server (wrap-range (fn [_] {:body (io/file \"video.mp4\")})) {:port 8080})

  Concerns responses with status 200 whose body is a File. They get `Accept-Ranges: bytes`;
  one range makes them 206 with `Content-Range`, or 416 when the file has no byte of it.
  Several ranges, other units, and an `If-Range` that is not the response's strong `ETag`
  or its `Last-Modified` get the whole file, and so does a client for which the whole file
  is compressed (see `:compression`). It belongs outside of a middleware for conditional
  requests, such as Ring's `wrap-not-modified`. For synchronous and asynchronous handlers."
  [handler]
  (ranges/wrap handler))
