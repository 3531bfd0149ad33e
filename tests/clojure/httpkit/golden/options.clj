(ns httpkit.golden.options
  "Plays the option cases: calls of public functions, life cycles of a server,
  the timer."
  (:require [httpkit.golden.value :as value])
  (:import [clojure.lang Reflector]
           [java.io InputStream]
           [java.net InetAddress InetSocketAddress Socket]
           [java.util.concurrent ArrayBlockingQueue BlockingQueue ThreadPoolExecutor TimeUnit]))

(set! *warn-on-reflection* true)

(defn- needed
  "The namespace that a case calls."
  [{:strs [call lifecycle]}]
  (cond
    call (symbol (namespace (symbol call)))
    lifecycle 'org.httpkit.server
    :else 'org.httpkit.timer))

(defn load-api!
  "Loads what `cases` need of the implementation, and no more."
  [cases]
  (run! require (distinct (map needed cases))))

(defn- server-api [n]
  @(requiring-resolve (symbol "org.httpkit.server" n)))

(defn- class-name [x] (some-> ^Object x .getClass .getName))

(defn- throws [^Throwable t] {"throws" (class-name t)})

(defn- pool-outcome [^ThreadPoolExecutor pool]
  (let [thread (.newThread (.getThreadFactory pool) ^Runnable (fn []))]
    {"class" (class-name pool)
     "core" (.getCorePoolSize pool)
     "max" (.getMaximumPoolSize pool)
     "queue" (class-name (.getQueue pool))
     "capacity" (.remainingCapacity ^BlockingQueue (.getQueue pool))
     "keepalive-s" (.getKeepAliveTime pool TimeUnit/SECONDS)
     "thread-name" (.getName thread)
     "daemon" (.isDaemon thread)}))

(defn- client? [x]
  (= "org.httpkit.client.HttpClient" (class-name x)))

(defn- server? [x]
  (or (= "org.httpkit.server.HttpServer" (class-name x))
      (and (fn? x) (contains? (meta x) :local-port))))

(defn value-outcome
  "A Clojure value in the data's words."
  [x]
  (cond
    (or (nil? x) (string? x) (number? x) (boolean? x)) x
    (keyword? x) {"kw" (subs (str x) 1)}
    (map? x) (into {} (map (fn [[k v]] [(if (keyword? k) (subs (str k) 1) (str k)) (value-outcome v)])) x)
    (sequential? x) (mapv value-outcome x)
    (instance? ThreadPoolExecutor x) (pool-outcome x)
    (client? x) {"client" (class-name x)}
    :else {"class" (class-name x)}))

(defn- release! [x]
  (let [pool (if (map? x) (:pool x) x)]
    (cond
      (client? x) (Reflector/invokeInstanceMethod x "stop" (object-array 0))
      (instance? ThreadPoolExecutor pool) (.shutdownNow ^ThreadPoolExecutor pool))))

(defn- start-outcome [server]
  {"started" (if (fn? server) "fn" (class-name server))})

(defn- stop! [server]
  (if (fn? server)
    (server)
    (some-> ((server-api "server-stop!") server {:timeout 50}) (deref 5000 nil))))

(defn- callable
  "Function of the public var named `n`; a macro becomes a function of `arity` arguments."
  [n arity]
  (let [v (requiring-resolve (symbol n))]
    (when-not v (throw (ex-info (str "no such var: " n) {:type ::no-var})))
    (if (:macro (meta v))
      (let [params (vec (repeatedly arity gensym))]
        (eval (list 'fn params (list* (symbol n) params))))
      @v)))

(defn- play-call [{:strs [call args]}]
  (try
    (let [f (callable call (count args))
          x (apply f (map value/value args))]
      (if (server? x)
        (do (stop! x) {"value" (start-outcome x)})
        (let [outcome (value-outcome x)]
          (release! x)
          {"value" outcome})))
    (catch Throwable t (throws t))))

(defn- port-of [server]
  (if (fn? server) (:local-port (meta server)) ((server-api "server-port") server)))

(defn- get-status
  "Status of one GET on `port`, or \"refused\"."
  [port]
  (try
    (with-open [s (doto (Socket.)
                    (.connect (InetSocketAddress. (InetAddress/getByName "127.0.0.1") (int port)) 2000)
                    (.setSoTimeout 5000))]
      (.write (.getOutputStream s) (.getBytes "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
      (let [^InputStream in (.getInputStream s)
            line (apply str (map char (take-while #(not (#{13 -1} %)) (repeatedly #(.read in)))))]
        (some-> (re-find #"^HTTP/1\.1 (\d{3})" line) second Long/parseLong)))
    (catch java.net.ConnectException _ "refused")))

(defn- ok-handler [_]
  {:status 200 :headers {"Content-Type" "text/plain"} :body "ok"})

(defn- fixed-pool []
  (ThreadPoolExecutor. 2 2 0 TimeUnit/MILLISECONDS (ArrayBlockingQueue. 100)))

(defn- start-server [{:keys [pool]} options]
  ((server-api "run-server") ok-handler
                             (cond-> (merge {:ip "127.0.0.1" :port 0} (value/options options))
                               pool (assoc :worker-pool pool))))

(defn- join-outcome [server ms]
  (let [joined (future ((server-api "server-join") server) :joined)]
    (if (= :joined (deref joined ms nil)) "returned" "blocked")))

(defn- wait-stopped [server]
  (let [deadline (+ (System/nanoTime) 3000000000)]
    (loop []
      (let [status ((server-api "server-status") server)]
        (if (or (= status :stopped) (< deadline (System/nanoTime)))
          (str status)
          (do (Thread/sleep 10) (recur)))))))

(defn- stop-step [server options]
  (let [p (if options
            ((server-api "server-stop!") server (value/value options))
            ((server-api "server-stop!") server))]
    (when p {"promise" (deref p 5000 "not delivered")})))

(defn- life-step
  "Performs one life cycle step: `[state result]`."
  [{:keys [server port ^ThreadPoolExecutor pool] :as state} [op arg]]
  (case op
    "start" (let [server (start-server state arg)]
              [(assoc state :server server :port (port-of server)) (get (start-outcome server) "started")])
    "pool" [(assoc state :pool (fixed-pool)) nil]
    "pool-shutdown?" [state (.isShutdown pool)]
    "meta-keys" [state (sort (map name (keys (meta server))))]
    "meta-server-class" [state (class-name (:server (meta server)))]
    "port-positive?" [state (pos? (long (port-of server)))]
    "same-port?" [state (= port (port-of server))]
    "status" [state (str ((server-api "server-status") server))]
    "is-alive" [state (Reflector/invokeInstanceMethod server "isAlive" (object-array 0))]
    "get" [state (get-status port)]
    "stop" [state (stop-step server arg)]
    "wait-stopped" [state (wait-stopped server)]
    "call" [state (server)]
    "join" [state (join-outcome server arg)]))

(defn- play-lifecycle [steps]
  (loop [state {}, [step & more] steps, log []]
    (if-not step
      (do (some-> (:server state) stop!)
          (some-> ^ThreadPoolExecutor (:pool state) .shutdownNow)
          {"steps" log})
      (let [[state result] (try (life-step state step)
                                (catch Throwable t [state (throws t)]))]
        (recur state more (conj log [(first step) result]))))))

(def ^:private schedule
  (delay (eval '(fn [ms f] (org.httpkit.timer/schedule-task ms (f))))))

(def ^:private with-timeout
  (delay (eval '(fn [f ms timed-out body]
                  (org.httpkit.timer/with-timeout f ms (timed-out) (body f))))))

(defn- schedule-step [{:keys [tasks log!]} task-name ms after]
  (try
    (let [task (@schedule ms (fn [] (log! ["ran" task-name]) (after)))]
      (swap! tasks assoc task-name task))
    (catch Throwable t (log! ["scheduled" task-name (throws t)]))))

(defn- timeout-step [{:keys [log!]} task-name ms delay-ms]
  (let [f (fn [x] (log! ["f" task-name x]) x)
        body (fn [f]
               (when delay-ms (Thread/sleep (long delay-ms)))
               [(f 1) (f 2)])
        result (@with-timeout f ms (fn [] (log! ["timed-out" task-name])) body)]
    (log! ["returned" task-name result])))

(defn- timer-step [{:keys [tasks log!] :as ctx} [op a b c]]
  (case op
    "schedule" (schedule-step ctx a b (fn []))
    "schedule-throw" (schedule-step ctx a b (fn [] (throw (RuntimeException. "boom"))))
    "cancel" (log! ["cancel" a ((requiring-resolve 'org.httpkit.timer/cancel) (get @tasks a))])
    "task-class" (log! ["task-class" a (class-name (get @tasks a))])
    "sleep" (Thread/sleep (long a))
    "with-timeout" (timeout-step ctx a b c)))

(defn- play-timer [steps]
  (let [log (atom [])
        ctx {:tasks (atom {}) :log! #(swap! log conj %)}]
    (run! #(timer-step ctx %) steps)
    {"log" @log}))

(defn play
  "Plays `golden`; gives `[golden outcome]`."
  [{:strs [lifecycle timer] :as golden}]
  [golden (cond
            lifecycle (play-lifecycle lifecycle)
            timer (play-timer timer)
            :else (play-call golden))])
