(ns httpkit.dropping-pool-test
  "A user's pool that drops what it is given without a word, as the JDK's `DiscardPolicy` does."
  (:require [clojure.test             :refer [deftest is testing]]
            [httpkit.stop-faults-test :as faults]
            [httpkit.wire             :as wire]
            [httpkit.ws-wire          :as ws]
            [org.httpkit.server       :as server])
  (:import (java.io InputStream)
           (java.lang.ref Reference WeakReference)
           (java.util.concurrent AbstractExecutorService)
           (java.util.function Consumer)
           (org.httpkit HttpMethod HttpVersion)
           (org.httpkit.logger ContextLogger EventLogger EventNames)
           (org.httpkit.server AsyncChannel HttpRequest HttpServer IHandler ProxyProtocolOption RespCallback
                               RingHandler)))

(set! *warn-on-reflection* true)

(defn- dropping
  "A pool that drops what it is given once `dropping?` is true."
  [dropping?]
  (proxy [AbstractExecutorService] []
    (execute [task] (when-not @dropping? (.run ^Runnable task)))
    (shutdown []) (shutdownNow [] []) (isShutdown [] false) (isTerminated [] true)
    (awaitTermination [_ _] true)))

(defn- collected?
  "Whether what a pool has dropped is collected, so that `told?` is true; `submit` gives the pool more."
  [told? submit]
  (wire/eventually #(do (System/gc) (submit) (told?))))

(deftest a-request-that-a-pool-drops-by-itself-is-not-kept-and-gets-503
  (wire/with-server [{:keys [port server] :as started} (fn [_]) {:worker-pool (dropping (atom true))}]
    (letfn [(fetch [conn] (wire/send! conn (wire/get-request "/")))]
      (with-open [conn (wire/connect port)]
        (fetch conn)
        (is (collected? #(pos? (.available ^InputStream (:in conn)))
                        #(with-open [more (wire/connect port)] (fetch more))))
        (is (= 503 (:status (wire/answer conn)))))
      (with-open [conn (wire/connect port)]
        (dotimes [_ 100]
          (with-open [more (wire/connect port)] (fetch more)))
        (is (collected? #(< (faults/kept (faults/workers server)) 10)
                        #(dotimes [_ 4] (with-open [more (wire/connect port)] (fetch more)))))
        (fetch conn)
        (is (wire/eventually #(pos? (faults/kept (faults/workers server)))))
        (is (true? (wire/stop started)))
        (is (= 503 (:status (wire/answer conn))) "at the stop, at the latest")))))

(deftest callbacks-that-a-pool-drops-by-itself-run-aside
  (let [dropping? (atom false)
        opened    (promise)
        closed    (promise)
        flushes   (atom 0)]
    (wire/with-server [{:keys [port]}
                       (fn [req] (server/as-channel req {:on-open  #(deliver opened %)
                                                         :on-close (fn [_ status] (deliver closed status))}))
                       {:worker-pool (dropping dropping?)}]
      (let [web   (ws/connect port wire/patience-ms)
            flush #(.whenFlushed ^AsyncChannel @opened (reify Consumer (accept [_ _] (swap! flushes inc))))]
        (is (deref opened wire/patience-ms false))
        (reset! dropping? true)
        (dotimes [_ 100] (flush))
        (is (collected? #(<= 100 @flushes) flush))
        (ws/send! web [[:text "lost"]] nil)
        (is (collected? #(pos? (.available ^InputStream (:in web))) flush))
        (is (= [:close 1013 "Server overloaded"] (ws/receive! web)))
        (ws/disconnect web)
        (is (collected? #(realized? closed) flush))))))

(deftest no-message-is-delivered-after-one-that-a-pool-has-dropped
  (let [dropping? (atom false)
        opened    (promise)
        heard     (atom [])]
    (wire/with-server [{:keys [port server] :as started}
                       (fn [req] (server/as-channel req {:on-open    #(deliver opened %)
                                                         :on-receive (fn [_ message] (swap! heard conj message))
                                                         :on-close   (fn [_ _] (swap! heard conj :closed))}))
                       {:worker-pool (dropping dropping?)}]
      (let [web   (ws/connect port wire/patience-ms)
            tasks (faults/value (faults/value (faults/workers server) "unbegun") "tasks")]
        (is (deref opened wire/patience-ms false))
        (reset! dropping? true)
        (ws/send! web [[:text "lost"]] nil)
        (is (wire/eventually #(seq tasks)))
        (is (collected? #(nil? (.get ^Reference (first tasks))) (constantly nil)))
        (reset! dropping? false)
        (ws/send! web [[:text "then"] [:ping "p"]] nil)
        (is (= [:pong "p"] (ws/receive! web)) "the message has arrived")
        (is (true? (wire/stop started)))
        (is (wire/eventually #(= [:closed] @heard)) (pr-str @heard))
        (ws/disconnect web)))))

(deftest a-request-that-its-pool-drops-by-itself-is-told-to-its-callback
  (let [ring    (RingHandler. (fn [_]) false (dropping (atom true)) (reify ContextLogger (log [_ _ _]))
                              EventLogger/NOP EventNames/DEFAULT "http-kit" true)
        told    (atom 0)
        by-hand (fn [told]
                  (.handle ring (HttpRequest. HttpMethod/GET "/" HttpVersion/HTTP_1_1)
                           (proxy [RespCallback] [nil nil] (run [_] (swap! told inc)))))
        later   #(by-hand (atom 0))]
    (testing "that of one made by hand"
      (by-hand told)
      (is (collected? #(pos? @told) later)))
    (testing "that of a handler in front"
      (let [ended  (atom 0)
            held   (promise)
            front  (reify IHandler
                     (^void handle [_ ^HttpRequest request ^RespCallback callback]
                       (deliver held (WeakReference. request))
                       (.handle ring request
                                (proxy [RespCallback] [nil nil]
                                  (run [buffers]
                                    (swap! ended inc)
                                    (.run callback ^"[Ljava.nio.ByteBuffer;" buffers)))))
                     (^void close [_ ^int timeout] (.close ring timeout)))
            server (doto (HttpServer. "127.0.0.1" 0 front 1024 1024 1024 ProxyProtocolOption/DISABLED) (.start))]
        (with-open [conn (wire/connect (.getPort server))]
          (wire/send! conn "HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
          (is (collected? #(nil? (.get ^WeakReference @held)) (constantly nil)) "with its body")
          (is (collected? #(pos? @ended) later))
          (let [{:keys [status headers]} (wire/read-head conn)]
            (is (= [503 "1"] [status (headers "retry-after")])))
          (is (wire/closed? conn)))
        (is (= 1 @ended))
        (.stop server 100)))))
